from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel import environment_variables as env
from robot_sf_otel.config import Arguments, Config, parse_bool, resolve, switched

NONE: Final = Arguments()


def settle(
    environ: dict[str, str] | None = None,
    **arguments: Any,  # noqa: ANN401 - what configure() takes
) -> tuple[Config, list[str]]:
    """Return what is settled on, and the warnings."""
    said: list[str] = []
    return resolve(Arguments(**arguments), environ or {}, said.append), said


def test_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    config, said = settle()
    assert config == Config(artifact_root=Path.cwd() / "output")
    assert (config.interval, config.gpu, config.console, config.watchdog) == (
        1.0,
        "auto",
        "auto",
        True,
    )
    assert (config.run_dir, config.run_name, config.on_finish, config.rules, config.redact) == (
        (None,) * 5
    )
    assert said == []


RULES: Final = str(Path(__file__))


@pytest.mark.parametrize(
    ("field", "variable", "given_text", "expected", "argument", "wins"),
    [
        ("artifact_root", env.ARTIFACT_ROOT, "/a", Path("/a"), "/b", Path("/b")),
        ("run_name", env.RUN_NAME, "night", "night", "day", "day"),
        ("interval", env.INTERVAL, "0.5", 0.5, 2, 2.0),
        ("gpu", env.GPU, "OFF", "off", "auto", "auto"),
        ("console", env.CONSOLE, " lines ", "lines", "off", "off"),
        ("watchdog", env.WATCHDOG, "false", False, True, True),
        ("on_finish", env.ON_FINISH, "notify", "notify", "mail", "mail"),
        ("rules", env.RULES, RULES, Path(RULES), Path(RULES), Path(RULES)),
        ("redact", env.REDACT, "plate", "plate", "name", "name"),
    ],
)
def test_argument_beats_variable_and_variable_beats_default(  # noqa: PLR0917 - a table
    field: str, variable: str, given_text: str, expected: object, argument: object, wins: object
) -> None:
    config, said = settle({variable: given_text})
    assert getattr(config, field) == expected
    config, more = settle({variable: given_text}, **{field: argument})
    assert getattr(config, field) == wins
    assert said == more == []


@pytest.mark.parametrize(
    ("field", "variable", "bad"),
    [
        ("interval", env.INTERVAL, "0.05"),
        ("interval", env.INTERVAL, "-1"),
        ("interval", env.INTERVAL, "nan"),
        ("interval", env.INTERVAL, "inf"),
        ("interval", env.INTERVAL, "fast"),
        ("gpu", env.GPU, "cuda:0"),
        ("console", env.CONSOLE, "loud"),
        ("watchdog", env.WATCHDOG, "perhaps"),
        ("rules", env.RULES, "/there/is/none.toml"),
        ("redact", env.REDACT, "("),
    ],
)
def test_bad_value_warns_naming_variable_and_value_and_falls_back(
    field: str, variable: str, bad: str
) -> None:
    default = getattr(settle()[0], field)
    config, (warning,) = settle({variable: bad})
    assert getattr(config, field) == default
    assert f"{variable}={bad!r}" in warning
    assert "is ignored: " in warning
    argument: dict[str, Any] = {field: bad}
    config, (warning,) = settle(**argument)
    assert getattr(config, field) == default
    assert f"{field}={bad!r}" in warning


def test_bad_argument_does_not_let_a_variable_through() -> None:
    config, (warning,) = settle({env.INTERVAL: "7"}, interval=0)
    assert config.interval == 1.0
    assert "interval=0" in warning


def test_empty_variable_is_as_good_as_unset() -> None:
    variables = [value for name, value in vars(env).items() if name.isupper()]
    assert len(variables) > 10
    assert settle(dict.fromkeys(variables, "")) == settle()


def test_artifact_root_is_absolute_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = settle(artifact_root="runs")
    monkeypatch.chdir("/")
    assert config.artifact_root == tmp_path / "runs"


def test_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert settle(artifact_root="~/runs")[0].artifact_root == Path("/home/somebody/runs")


def test_run_directory_comes_from_the_environment_alone() -> None:
    assert settle({env.RUN_DIR: "/runs/x"})[0].run_dir == Path("/runs/x")


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_yes_is_understood_as_people_write_it(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "False", "no", "OFF"])
def test_no_is_understood_as_people_write_it(text: str) -> None:
    assert parse_bool(text) is False


def test_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(ValueError, match="true or false"):
        parse_bool("maybe")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({env.ENABLED: "true"}, True),
        ({env.ENABLED: "false"}, False),
        ({env.RUN_DIR: "/runs/x"}, True),
        ({env.RUN_DIR: "/runs/x", env.ENABLED: "false"}, False),
        ({env.OTEL_SDK_DISABLED: "true"}, False),
        ({env.OTEL_SDK_DISABLED: "true", env.ENABLED: "true"}, False),
        ({env.OTEL_SDK_DISABLED: "true", env.RUN_DIR: "/runs/x"}, False),
        ({env.OTEL_SDK_DISABLED: "false"}, None),
        ({env.OTEL_SDK_DISABLED: "false", env.ENABLED: "true"}, True),
        ({env.ENABLED: " "}, None),
    ],
    ids=str,
)
def test_the_switches_beat_each_other_in_their_order(
    environ: dict[str, str],
    expected: bool | None,  # noqa: FBT001 - a table
) -> None:
    said: list[str] = []
    assert switched(environ, said.append) is expected
    assert said == []


@pytest.mark.parametrize("name", [env.ENABLED, env.OTEL_SDK_DISABLED])
def test_switch_that_is_neither_on_nor_off_warns_and_decides_nothing(name: str) -> None:
    said: list[str] = []
    assert switched({name: "perhaps"}, said.append) is None
    assert said == [f"{name}='perhaps' is ignored: expected true or false"]


NAMES: Final = st.sampled_from([value for name, value in vars(env).items() if name.isupper()])


@given(st.dictionaries(NAMES, st.text(max_size=20)))
def test_no_environment_makes_it_raise(environ: dict[str, str]) -> None:
    said: list[str] = []
    config = resolve(NONE, environ, said.append)
    switched(environ, said.append)
    assert math.isfinite(config.interval)
    assert config.interval >= 0.1
    assert config.artifact_root.is_absolute()
    assert config.console in {"auto", "lines", "off"}
    assert all("=" in warning for warning in said)


def test_every_variable_is_documented_where_it_is_named() -> None:
    source = Path(env.__file__).read_text(encoding="utf-8").splitlines()
    named = [number for number, line in enumerate(source) if ": Final = " in line]
    assert named
    for number in named:
        assert source[number + 1].startswith('"""'), source[number]
    assert os.environ.get(env.RUN_DIR) is None
