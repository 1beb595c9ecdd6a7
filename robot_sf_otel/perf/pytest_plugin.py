"""pytest plugin: the fixture `throughput`, which fails a test that got slower than its baseline.

Loaded by every pytest of an environment that has this package, so it imports nothing else until the
fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PerformanceTestResult

_PROPERTY: Final = "throughput"
_BASELINE: Final = "throughput_baseline"
_UPDATE: Final = "update_throughput_baseline"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; the file can stand in the configuration, too."""
    group = parser.getgroup("throughput", "throughput against baselines (robot_sf_otel)")
    group.addoption(
        "--throughput-baseline",
        dest=_BASELINE,
        metavar="FILE",
        help="baseline file of the fixture `throughput`",
    )
    group.addoption(
        "--update-throughput-baseline",
        dest=_UPDATE,
        metavar="REASON",
        help="write what is measured to that file, with the reason",
    )
    parser.addini(_BASELINE, "baseline file of the fixture `throughput`, relative to the root")


@pytest.fixture
def throughput(request: pytest.FixtureRequest) -> Throughput:
    """Return a function that measures another one and fails the test if it got slower."""
    return Throughput(request.node, _file(request.config), request.config.getoption(_UPDATE))


def _file(config: pytest.Config) -> Path | None:
    given: str | None = config.getoption(_BASELINE)
    if given:
        return config.invocation_params.dir / given
    named: str = config.getini(_BASELINE)
    return config.rootpath / named if named else None


class Throughput:
    """Measures a function against the baseline of a test; what the fixture returns.

    Args:
        node: The test.
        path: The baseline file.
        reason: Why what is measured becomes the baseline; None where it is compared.
    """

    def __init__(self, node: pytest.Item, path: Path | None, reason: str | None) -> None:
        self._node = node
        self._path = path
        self._reason = reason

    def __call__(
        self,
        function: Callable[[], object],
        *,
        units: float = 1,
        unit: str = "calls",
        name: str | None = None,
        tolerance: float = 0.25,
        max_seconds: float = 10.0,
    ) -> PerformanceTestResult:
        """Measure `function` and fail the test if it is slower than it may be.

        A soft breach, a missing baseline and a machine too noisy to tell fail nothing; they are
        listed at the end of the test session.

        Args:
            function: Called again and again in this process; the first call does not count.
            units: What a call gets done.
            unit: What that is called.
            name: Of the baseline; the test's own id by default.
            tolerance: Part below the baseline at which it fails.
            max_seconds: Seconds after which no further repetition is begun.

        Raises:
            pytest.fail.Exception: It is slower, whatever the noise.
            pytest.UsageError: The baseline file cannot be used.
        """
        from robot_sf_otel.perf import baselines
        from robot_sf_otel.perf.gate import gate

        test_id = name or self._node.nodeid
        try:
            result, message = gate(
                function,
                test_id=test_id,
                units=units,
                unit=unit,
                tolerance=tolerance,
                max_seconds=max_seconds,
                path=self._path,
                reason=self._reason,
            )
        except baselines.BaselineError as error:
            raise pytest.UsageError(str(error)) from error
        self._node.user_properties.append((_PROPERTY, f"{result.status}: {message}"))
        if result.status == "failed":
            pytest.fail(message, pytrace=False)
        return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was measured and did not plainly pass."""
    said: list[str] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                said += [text for key, text in report.user_properties if key == _PROPERTY]
    shown = [text for text in said if not text.startswith("passed")]
    if shown:
        terminalreporter.section("throughput")
        for text in shown:
            terminalreporter.line(text)
