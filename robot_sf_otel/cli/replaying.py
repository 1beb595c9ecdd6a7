"""`replay`: recorded runs to an OTLP endpoint, with their own ids and times."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from robot_sf_otel.cli.common import (
    LATEST,
    TextFormat,
    artifact_roots,
    complain,
    fail,
    outgoing,
    redactor,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.interop.batches import Signal
    from robot_sf_otel.interop.replay import Result
    from robot_sf_otel.interop.transport import Protocol_
    from robot_sf_otel.store.reader import LoadedRun

OLD_SECONDS: Final = 3600
"""Age from which Prometheus refuses a sample where it is not told otherwise."""
LINE_SECONDS: Final = 5.0
"""Time between two lines of progress where there is no terminal."""


class WireProtocol(StrEnum):
    """How requests are sent."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


class SignalName(StrEnum):
    """What can be left out."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


def replay(  # noqa: PLR0917 - typer passes options by name
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Run ids, unique prefixes, paths, or `latest`."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="Where to: http://host:4317 for gRPC, http://host:4318 for HTTP.",
            envvar="OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    ] = None,
    protocol: Annotated[
        WireProtocol | None,
        typer.Option(
            "--protocol", help="How.", show_default="$OTEL_EXPORTER_OTLP_PROTOCOL, or grpc"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N", min=1, help="Spans, points and log records a second."),
    ] = None,
    signals: Annotated[
        list[SignalName] | None,
        typer.Option("--signal", help="Only this one; repeatable."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All runs, the oldest first.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Send what the endpoint has accepted before, too.")
    ] = False,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--no-private",
            help="Leave out paths, commands and messages of exceptions.",
            show_default="$ROBOT_SF_OTEL_OTLP_PRIVATE",
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option("--patience", metavar="SECONDS", min=0, help="How long to try a request."),
    ] = 60.0,
    form: Annotated[
        TextFormat, typer.Option("--format", help="JSON: one object with what was accepted.")
    ] = TextFormat.TEXT,
) -> None:
    """Send recorded runs to an OTLP endpoint, with their own ids and times.

    What was accepted is remembered beside the runs: the same command goes on where it stopped.
    """
    if not endpoint:
        raise typer.BadParameter(
            "say where to, for example http://localhost:4317", param_hint="'--endpoint'"
        )
    from robot_sf_otel import __version__
    from robot_sf_otel.interop.batches import SIGNALS
    from robot_sf_otel.interop.transport import BadEndpoint, Missing, connect

    found = _runs(context, runs or [LATEST], every=every)
    _forewarn(found)
    filtered = outgoing(private)
    try:
        transport = connect(endpoint, _protocol(protocol), os.environ)
    except BadEndpoint as error:
        raise typer.BadParameter(str(error), param_hint="'--endpoint'") from None
    except Missing as error:
        fail(str(error))
    from robot_sf_otel.interop.ledger import Ledger
    from robot_sf_otel.interop.replay import Delivery, Pace, Replay

    ledgers: dict[Path, Ledger] = {}
    stack = ExitStack()

    def ledger_of(tracker: Path) -> Ledger:
        if tracker not in ledgers:
            ledgers[tracker] = Ledger(tracker, endpoint, private=filtered.private)
            stack.callback(ledgers[tracker].close)
        return ledgers[tracker]

    chosen: list[Signal] = [
        signal for signal in SIGNALS if not signals or SignalName(signal) in signals
    ]
    with stack:
        stack.callback(transport.close)
        advance = stack.enter_context(_progress(len(found)))
        replaying = Replay(
            Delivery(transport, patience, time.monotonic),
            filtered,
            __version__,
            signals=chosen,
            pace=Pace(rate, time.monotonic, time.sleep),
            ledger_of=ledger_of,
            again=again,
            on_items=advance.items,
        )
        try:
            result = replaying.send(advance.each(found))
        except OSError as error:
            fail(f"{error.filename}: {error.strerror or error}")
    _tell(result, endpoint, form)


def _protocol(option: WireProtocol | None) -> Protocol_:
    from robot_sf_otel import environment_variables as env
    from robot_sf_otel.exporters import GRPC, HTTP, wire_protocol

    if option is not None:
        return GRPC if option is WireProtocol.GRPC else HTTP
    protocol, wrong = wire_protocol(os.environ, env.OTEL_EXPORTER_OTLP_PROTOCOL)
    if wrong is not None:
        complain(wrong)
    return protocol


def _runs(context: typer.Context, names: list[str], *, every: bool) -> list[LoadedRun]:
    """Return the runs that are meant, the oldest first where all are.

    Raises:
        typer.Exit: One cannot be found or read; stderr says which.
    """
    from robot_sf_otel.store.history import AmbiguousRun, RunNotFound, newest_first, resolve_run
    from robot_sf_otel.store.reader import UnreadableRun, load_run

    roots = artifact_roots(context)
    found: list[LoadedRun] = []
    try:
        if every:
            places = list(newest_first(roots))[::-1]
        else:
            places = list(dict.fromkeys(resolve_run(roots, name) for name in names))
        found.extend(load_run(place, telemetry=False) for place in places)
    except (RunNotFound, AmbiguousRun, UnreadableRun, OSError, ValueError) as error:
        fail(str(error))
    if not found:
        fail(f"no runs under {', '.join(map(str, roots))}")
    return found


def _forewarn(found: list[LoadedRun]) -> None:
    """Say in advance what the endpoint will refuse, or cannot be sent yet."""
    from robot_sf_otel.manifest.events import unix_seconds
    from robot_sf_otel.manifest.schema import TERMINAL_RUN

    now = time.time()
    begun = [unix_seconds(run.record.created_at) for run in found]
    old = sum(moment is not None and now - moment > OLD_SECONDS for moment in begun)
    if old:
        complain(
            f"{old:,} of {len(found):,} runs began over an hour ago: a Prometheus behind the "
            "endpoint refuses their samples unless its out_of_order_time_window reaches so far "
            "back; traces and logs have no such limit"
        )
    open_runs = sum(run.record.status not in TERMINAL_RUN for run in found)
    if open_runs:
        complain(f"{open_runs:,} of them still run: what has ended is sent; replay again later")


class _Progress:
    """Shows how far a replay is."""

    def __init__(self, total: int, show: Callable[[int, int], None]) -> None:
        self._total = total
        self._show = show
        self._runs = 0
        self._items = 0

    def each(self, found: list[LoadedRun]) -> Generator[tuple[Path, bool]]:
        """Yield the runs and whether they are over, counting them."""
        from robot_sf_otel.manifest.schema import TERMINAL_RUN

        for run in found:
            yield run.run_dir, run.record.status in TERMINAL_RUN
            self._runs += 1
            self._show(self._runs, self._items)

    def items(self, number: int) -> None:
        """Count items that were dealt with."""
        self._items += number
        self._show(self._runs, self._items)


@contextmanager
def _progress(total: int) -> Generator[_Progress]:
    """Show a bar on a terminal, and a line every few seconds elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("replay"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield _Progress(
                total,
                lambda runs, items: bar.update(
                    task, completed=runs, description=f"{items:,} items"
                ),
            )
        return
    last = time.monotonic()

    def line(runs: int, items: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            complain(f"{runs:,} of {total:,} runs, {items:,} items")

    yield _Progress(total, line)


def _tell(result: Result, endpoint: str, form: TextFormat) -> None:
    """Say what was accepted.

    Raises:
        typer.Exit: Not everything was.
    """
    from robot_sf_otel.interop.replay import as_json, told
    from robot_sf_otel.manifest.formats import one_line

    if form is TextFormat.JSON:
        write_json(as_json(result))
    else:
        what = "1 run" if result.runs == 1 else f"{result.runs:,} runs"
        typer.echo(f"{what} to {one_line(redactor().text(endpoint))}")  # it may hold a password
        for line in told(result):
            typer.echo(one_line(line))
    if result.stopped is not None:
        complain(
            f"stopped: {result.stopped}; the same command sends what is missing, and nothing twice"
        )
    if not result.is_whole:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)
