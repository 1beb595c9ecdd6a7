"""Writes the pages of docs/reference/ and docs/schema/ that follow from the code.

Usage: `make reference` (or `python tools/reference.py`). A test compares the files with what
`pages()` returns, so a change of the code that is not in the pages fails.
"""

from __future__ import annotations

import ast
import enum
import itertools
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import typer.main

from robot_sf_otel import environment_variables, semconv
from robot_sf_otel.analysis.anomalies import DETECTORS
from robot_sf_otel.analysis.rule_settings import Evaluation
from robot_sf_otel.analysis.rules import BUILT_IN
from robot_sf_otel.cli.main import app
from robot_sf_otel.manifest import events, fields, schema
from robot_sf_otel.semconv.instruments import INSTRUMENTS, WRITTEN, Instrument
from tools import figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robot_sf_otel.analysis.rules.base import Rule

ROOT = Path(__file__).parents[1]
_ORDER = (
    "A value is looked up as argument of `configure()`, then `ROBOT_SF_OTEL_*`, then `OTEL_*`.\n"
    "A bad value is ignored with a warning that names the variable and the value."
)
_NOTE = "<!-- Written by `make reference` from the code; changes belong there. -->"

SCHEMAS: dict[str, object] = {
    "pipeline_run_record": schema.PipelineRunRecord,
    "step_execution_entry": schema.StepExecutionEntry,
    "telemetry_snapshot": schema.TelemetrySnapshot,
    "performance_recommendation": schema.PerformanceRecommendation,
    "performance_test_result": schema.PerformanceTestResult,
    "journal_event": events.Event,
}
"""File name under docs/schema/ (without .json) and the type that it describes."""


def pages() -> dict[str, str]:
    """Return the text of every generated file, by its path below the repository's root."""
    return {
        "docs/reference/configuration.md": configuration(),
        "docs/reference/telemetry.md": telemetry(),
        "docs/reference/command-line.md": command_line(),
        "docs/reference/recommendations.md": recommendations(),
        **figures.pages(),
        **{f"docs/schema/{name}.json": json_schema(kind) for name, kind in SCHEMAS.items()},
    }


def json_schema(kind: object) -> str:
    """Return the JSON Schema (2020-12) of a record type as indented text."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(kind),
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def configuration() -> str:
    """Return the page of the environment variables, from their constants and docstrings."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in _documented_constants()]
    return "\n".join(
        [
            "# Configuration",
            "",
            _NOTE,
            "",
            _ORDER,
            "",
            "| variable | meaning |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _documented_constants() -> Iterator[tuple[str, str]]:
    source = Path(environment_variables.__file__).read_text(encoding="utf-8")
    body = ast.parse(source).body
    for constant, doc in itertools.pairwise(body):
        match constant, doc:
            case (
                ast.AnnAssign(value=ast.Constant(value=str(name))),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                yield name, _cell(meaning)
            case _:
                continue


def telemetry() -> str:
    """Return the page of the fields of a sample and of a bill, of spans and of instruments."""
    attributes = [
        f"| `{value}` |"
        for name, value in vars(semconv).items()
        if name.isupper()
        and not name.startswith("_")
        and isinstance(value, str)
        and "." in value
        and name not in _EVENTS
    ]
    return "\n".join(
        [
            "# Telemetry",
            "",
            _NOTE,
            "",
            _MEANING,
            "",
            "## Fields of a sample",
            "",
            "A line of `telemetry.jsonl`; `%` lies in 0 to 100, MiB are 1,048,576 bytes.",
            "",
            *_fields(schema.TelemetrySnapshot, fields.TELEMETRY),
            "",
            "### `gpus[]`",
            "",
            *_fields(schema.GpuSample, fields.GPU),
            "",
            "## Fields of a step's bill",
            "",
            _BILL,
            "",
            *_fields(schema.Usage, fields.USAGE),
            "",
            "## What telemetry cost",
            "",
            "`self` of the manifest.",
            "",
            *_fields(schema.SelfCost, fields.SELF),
            "",
            "## Instruments",
            "",
            _OBSERVABLE,
            "",
            "| name | kind | unit | description | source | no point when | attributes |",
            "|---|---|---|---|---|---|---|",
            *(_instrument(one) for one in INSTRUMENTS),
            "",
            "Written when something happens:",
            "",
            "| name | kind | unit | description | source | no point when | attributes |",
            "|---|---|---|---|---|---|---|",
            *(_instrument(one) for one in WRITTEN),
            "",
            "## Events",
            "",
            _FINDINGS,
            "",
            "## Attributes",
            "",
            "Of spans, of the resource and of metric points.",
            "",
            "| name |",
            "|---|",
            *attributes,
            "",
        ]
    )


_FINDINGS = (
    f"`{semconv.RUN_STARTED}` and `{semconv.STEP_STARTED}` as log records; "
    f"`{semconv.RECOMMENDATION}` and `{semconv.ANOMALY}`\nas log records and on the span of the "
    f"step or run that they are of, with `{semconv.FINDING_ID}`,\n`{semconv.FINDING_SEVERITY}` and "
    f"`{semconv.FINDING_MESSAGE}`. [What they mean](recommendations.md);\n"
    "[what leaves the process, and when](../explanation/opentelemetry.md)."
)
_EVENTS = ("RUN_STARTED", "STEP_STARTED", "RECOMMENDATION", "ANOMALY")
_BILL = (
    "`usage` of each of `steps[]` in the manifest: counters at the step's end less those at its "
    "start."
)
_OBSERVABLE = (
    "Observable instruments; each returns the monitor's last reading, whoever asks. One whose "
    "reading\nis unknown has no point, and an attribute that is unknown is left out."
)
_MEANING = (
    "What is measured, from where, and when it is unknown. A reading that cannot be had is left "
    "out or\n`null`, never 0. [How it is measured](../explanation/telemetry.md) says why."
)


def _instrument(one: Instrument) -> str:
    by = ", ".join(f"`{name}`" for name in one.attributes)
    cells = (f"`{one.name}`", one.kind, f"`{one.unit}`", one.description, one.source, one.absent)
    return f"| {' | '.join(_cell(cell) for cell in cells)} | {by} |"


def _fields(kind: type[msgspec.Struct], meanings: dict[str, fields.Field]) -> Iterator[str]:
    yield from [
        "| field | type | unit | meaning | source | unknown when |",
        "|---|---|---|---|---|---|",
    ]
    types = get_type_hints(kind)  # without the ranges, which are in the JSON Schema
    for one in msgspec.structs.fields(kind):
        said = meanings[one.encode_name]
        cells = (said.unit, said.meaning, said.source, said.unknown)
        yield (
            f"| `{one.encode_name}` | {_type_name(types[one.name])} | "
            f"{' | '.join(_cell(cell) for cell in cells)} |"
        )


def _type_name(annotation: object) -> str:
    union = get_origin(annotation) in {Union, UnionType}
    known = [one for one in get_args(annotation) if one is not NoneType] if union else [annotation]
    text = " | ".join(one.__name__ if isinstance(one, type) else str(one) for one in known)
    text = text.replace("robot_sf_otel.manifest.schema.", "")
    return f"`{text}`".replace("|", "\\|")


def recommendations() -> str:
    """Return the page of the rules and anomalies, from their declarations."""
    lines = ["# Recommendations and anomalies", "", _NOTE, "", _RULES, ""]
    for kind in BUILT_IN:
        lines += [f"## `{kind.id}`", "", _first_line(kind), "", *_rule(kind), ""]
    lines += ["## Evaluation", "", _EVALUATION, "", *_thresholds(Evaluation), ""]
    lines += ["## Anomalies", "", _ANOMALIES, "", "| anomaly | meaning |", "|---|---|"]
    lines += [f"| `{kind.id}` | {_cell(_paragraph(kind.__doc__))} |" for kind in DETECTORS]
    return "\n".join(lines) + "\n"


def _first_line(kind: type[object]) -> str:
    return _paragraph(kind.__doc__).split("\n", maxsplit=1)[0]


def _rule(kind: type[Rule[Any]]) -> Iterator[str]:
    limits = {field.name: _default_of(field) for field in msgspec.structs.fields(kind.thresholds)}
    needs = ", ".join(f"`{name}`" for name in kind.needs) or "durations of earlier runs"
    yield f"- **When:** {kind.fires.format_map(limits)}"
    yield f"- **Why:** {kind.reason}"
    yield f"- **Needs:** {needs}"
    yield f"- **Cannot see:** {kind.blind.format_map(limits)}"
    yield f"- **Source:** {kind.source}."
    yield ""
    yield from _thresholds(kind.thresholds)


def _thresholds(kind: type[msgspec.Struct]) -> Iterator[str]:
    yield from ["| threshold | default | range | meaning |", "|---|---|---|---|"]
    fields = msgspec.structs.fields(kind)
    inspected = cast("Any", msgspec.inspect.type_info(kind))
    for field, seen in zip(fields, inspected.fields, strict=True):
        meta = seen.type
        extra: dict[str, Any] = getattr(meta, "extra_json_schema", None) or {}
        bounds = getattr(meta, "type", meta)
        low, high = getattr(bounds, "ge", None), getattr(bounds, "le", None)
        allowed = f"{low:g} to {high:g}" if low is not None and high is not None else ""
        if low is not None and high is None:
            allowed = f"from {low:g}"
        meaning = str(extra.get("description", ""))
        yield f"| `{field.name}` | `{_default_of(field)}` | {allowed} | {_cell(meaning)} |"


def _default_of(field: msgspec.structs.FieldInfo) -> str:
    value: object = field.default
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


_RULES = (
    "Deterministic rules over the samples and events of a run. A condition has to last, in four "
    "fifths of\nits time at the least; one sample never fires a rule. They are applied every few "
    "seconds while a run\ngoes on and once more at its end, and recorded in the manifest with the "
    "evidence: metric, value,\nthreshold, unit, the time, the number of samples, the step's span. "
    "`robot-sf-otel explain RUN ID`\nshows the samples; `robot-sf-otel recommend RUN` applies the "
    "rules again. [How to change\nthem](../how-to/recommendations.md)."
)
_EVALUATION = (
    "The table `[evaluation]` of the thresholds file. The warm-up of a step (six frames), the "
    "spacing of\nthe marks of its progress (one) and all times of the anomalies follow the length "
    "of a frame."
)
_ANOMALIES = (
    "What is unusual for a step or run, whatever the cause is: recorded with time and step, and as "
    "span\nevents. They have no actions and no thresholds of their own."
)


def command_line() -> str:
    """Return the page of the command line, from the commands' own help."""
    root = typer.main.get_command(app)
    lines = ["# Command line", "", _NOTE, ""]
    for path, command in _commands("robot-sf-otel", root):
        lines += [f"## `{path}`", "", *_help(command), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


# Typer 0.29 brings click as a vendored module without public types: the few attributes that are
# used here are click's documented ones.
def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - see above
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _commands(f"{path} {name}", child)


def _help(command: Any) -> Iterator[str]:  # noqa: ANN401 - see above
    yield _paragraph(command.help)
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", 0)]
    if rows:
        yield from ["", "| argument | meaning | default |", "|---|---|---|", *rows]


def _row(parameter: Any) -> str:  # noqa: ANN401 - see above
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [(parameter.metavar or parameter.name or "").upper()]
    meaning = getattr(parameter, "help", None) or ""
    kind: object = parameter.type_descriptor.annotation
    if isinstance(kind, enum.EnumType):
        choices = list(cast("type[enum.Enum]", kind))
        meaning += " One of " + ", ".join(f"`{_plain(one)}`" for one in choices) + "."
    called = ", ".join(f"`{name}`" for name in names)
    return f"| {called} | {_cell(meaning)} | {_default(parameter)} |"


def _default(parameter: Any) -> str:  # noqa: ANN401 - see above
    if parameter.required:
        return "required"
    default = parameter.default
    if default is None or default is False or default == () or callable(default):
        return ""
    return f"`{_plain(default)}`"


def _plain(value: object) -> object:
    return value.value if isinstance(value, enum.Enum) else value


def _paragraph(text: str | None) -> str:
    return (text or "").replace("\b", "").replace("\f", "").strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
