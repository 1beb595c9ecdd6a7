"""Makes the two Grafana dashboards: `python collector-config/dashboards.py`, with the library of Grafana's own types.

What a panel asks stands here and nowhere else; the JSON files beside are what comes out. A test compares
them, and asks a real Prometheus every query.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import common, prometheus, stat, table, tempo, timeseries
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder

OUTPUT: Final = Path(__file__).parent / "grafana" / "dashboards"
PROMETHEUS: Final = models.DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO: Final = models.DataSourceRef(type_val="tempo", uid="tempo")
FLEET: Final = "robot-sf-fleet"
RUN: Final = "robot-sf-run"

_OF_PIPELINES: Final = '{cicd_pipeline_name=~"$pipeline"}'
_INFO: Final = 'robot_sf_run_info{cicd_pipeline_name=~"$pipeline"}'
# Each of the two is one series for what it is joined on: a run that is replayed after it was sent live has two `target_info`,
# and a process may have several runs of a pipeline open.
_HOST: Final = "* on (instance) group_left (host_name) topk by (instance) (1, target_info)"
_OPEN: Final = (
    "* on (instance, cicd_pipeline_name) group_left () max by (instance, cicd_pipeline_name) "
    '(robot_sf_run_info{robot_sf_run_status="running"} == 1)'
)
_PROCESS: Final = '{instance=~"$instance"}'
_OF_RUN: Final = '{instance=~"$instance", cicd_pipeline_name=~"$pipeline"}'
_TO_RUN: Final = (
    f"/d/{RUN}?var-run=${{__data.fields.cicd_pipeline_run_id}}"
    "&var-pipeline=${__data.fields.cicd_pipeline_name}&${__url_time_range}"
)


def curve(title: str, unit: str, curves: dict[str, str], about: str = "") -> timeseries.Panel:
    """Return a panel of curves over time: what each is called in the legend, and its query."""
    panel = (
        timeseries.Panel()
        .title(title)
        .unit(unit)
        .datasource(PROMETHEUS)
        .height(8)
        .span(12)
        .fill_opacity(8)
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .placement(common_models.LegendPlacement.BOTTOM)
            .display_mode(common_models.LegendDisplayMode.LIST)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        .description(about)
    )
    for letter, (legend, expr) in zip("ABCDEFG", curves.items(), strict=False):
        asked = prometheus.Dataquery().expr(expr).datasource(PROMETHEUS).range()
        panel = panel.with_target(asked.legend_format(legend).ref_id(letter))
    return panel


def number(title: str, unit: str, expr: str, about: str = "") -> stat.Panel:
    """Return a panel with one figure, `--` where nothing is known."""
    return (
        stat.Panel()
        .title(title)
        .unit(unit)
        .datasource(PROMETHEUS)
        .height(4)
        .span(4)
        .no_value("--")
        .description(about)
        .with_target(prometheus.Dataquery().expr(expr).datasource(PROMETHEUS).instant().ref_id("A"))
    )


def rows(
    title: str, *exprs: str, names: dict[str, str], hidden: tuple[str, ...] = ()
) -> table.Panel:
    """Return a table with a row for each series as of now.

    Args:
        title: Of the panel.
        exprs: A query for each column of values: `Value`, or `Value #A` and so on.
        names: What columns are called.
        hidden: Columns that are left out, besides those of every series.
    """
    panel = table.Panel().title(title).datasource(PROMETHEUS).height(9).span(24).no_value("--")
    for letter, expr in zip("ABCDEFG", exprs, strict=False):
        asked = prometheus.Dataquery().expr(expr).datasource(PROMETHEUS).instant()
        panel = panel.with_target(asked.format(PromQueryFormat.TABLE).ref_id(letter))
    if len(exprs) > 1:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    left_out = ("Time", "__name__", "job", "otel_scope_name", "otel_scope_version", *hidden)
    return panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(left_out, True),
                "renameByName": names,
            },
        )
    )


def linked(panel: table.Panel) -> table.Panel:
    """Return the table with a link from each run to its dashboard."""
    link = {"title": "Show this run", "url": _TO_RUN}
    return panel.override_by_name(
        "cicd_pipeline_run_id", [models.DynamicConfigValue(id_val="links", value=[link])]
    )


def variable(
    name: str, label: str, values: str, *, multi: bool, hidden: bool = False
) -> builder.QueryVariable:
    """Return a variable whose values Prometheus knows."""
    made = (
        builder.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(values)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_DESC)
        .multi(multi)
        .include_all(multi)
    )
    if hidden:
        made = made.hide(models.VariableHide.HIDE_VARIABLE)
        # Without a value of its own "all" is the values that there are, and nothing else.
        return made.current(models.VariableOption(text="All", value="$__all")) if multi else made
    return made.all_value(".*") if multi else made


def fleet() -> builder.Dashboard:
    """Return the dashboard of all runs."""
    of_step = "sum by (cicd_pipeline_name, cicd_pipeline_task_name)"
    seconds = [models.DynamicConfigValue(id_val="unit", value="s")]
    took = (
        f"{of_step} (last_over_time(robot_sf_step_duration_seconds_sum{_OF_PIPELINES}[$__range]))"
    )
    times = (
        f"{of_step} (last_over_time(robot_sf_step_duration_seconds_count{_OF_PIPELINES}[$__range]))"
    )

    def of_open(name: str) -> str:
        """Return what an open run says of itself; one that has ended is heard for a while yet."""
        return f"{name}{_OF_PIPELINES} {_OPEN}"

    def by_host(name: str) -> str:
        return f"max by (cicd_pipeline_name, instance, host_name) ({of_open(name)} {_HOST})"

    def ended(status: str) -> str:
        which = f'{{cicd_pipeline_name=~"$pipeline", robot_sf_run_status="{status}"}}'
        return f"count(last_over_time(robot_sf_run_info{which}[$__range]) == 1)"

    panels: Sequence[Builder[models.Panel]] = [
        number("Open now", "none", f"sum(cicd_pipeline_run_active{_OF_PIPELINES})"),
        number("Completed", "none", ended("completed"), "Runs that ended in the time shown."),
        number("Failed", "none", ended("failed")),
        number(
            "Median duration",
            "s",
            f"histogram_quantile(0.5, sum by (le) (last_over_time(cicd_pipeline_run_duration_seconds_bucket{_OF_PIPELINES}[$__range])))",
            "Of the runs that ended, as far as the histogram's buckets tell.",
        ),
        number("Next one done in", "s", f"min({of_open('robot_sf_run_eta_remaining_seconds')})"),
        number("Last one done in", "s", f"max({of_open('robot_sf_run_eta_remaining_seconds')})"),
        linked(
            rows(
                "Runs",
                f"max by (cicd_pipeline_name, cicd_pipeline_run_id, robot_sf_run_status, instance) (last_over_time({_INFO}[$__range]) == 1)",
                hidden=("Value", "instance"),
                names={"cicd_pipeline_name": "Pipeline", "robot_sf_run_status": "Status"},
            )
        ),
        rows(
            "Open runs: steps and ETA",
            by_host("robot_sf_run_steps_completed"),
            by_host("robot_sf_run_steps_planned"),
            by_host("robot_sf_run_elapsed_seconds"),
            by_host("robot_sf_run_eta_remaining_seconds"),
            by_host("robot_sf_run_eta_high_seconds"),
            names={
                "Value #A": "Steps done",
                "Value #B": "Steps planned",
                "Value #C": "Elapsed",
                "Value #D": "ETA",
                "Value #E": "ETA, at most (90 %)",
                "cicd_pipeline_name": "Pipeline",
                "host_name": "Host",
            },
        ).override_by_regexp("Elapsed|ETA.*", seconds),
        rows(
            "Slowest steps: mean duration and number",
            f"topk(20, {took} / {times})",
            times,
            names={
                "Value #A": "Mean",
                "Value #B": "Executions",
                "cicd_pipeline_name": "Pipeline",
                "cicd_pipeline_task_name": "Step",
            },
        ).override_by_name("Mean", seconds),
        rows(
            "Failures by kind of error",
            f"sum by (cicd_pipeline_name, error_type) (last_over_time(cicd_pipeline_run_errors_total{_OF_PIPELINES}[$__range])) > 0",
            names={"Value": "Runs", "cicd_pipeline_name": "Pipeline", "error_type": "Error"},
        ).span(12),
        rows(
            "Recommendations and anomalies",
            f"sum by (cicd_pipeline_name, robot_sf_finding_id, robot_sf_finding_severity) (last_over_time(robot_sf_run_findings_total{_OF_PIPELINES}[$__range])) > 0",
            names={
                "Value": "Times",
                "cicd_pipeline_name": "Pipeline",
                "robot_sf_finding_id": "Rule",
                "robot_sf_finding_severity": "Severity",
            },
        ).span(12),
        curve(
            "Open runs",
            "none",
            {
                "{{cicd_pipeline_name}}": f"sum by (cicd_pipeline_name) (cicd_pipeline_run_active{_OF_PIPELINES})"
            },
        ),
        curve(
            "CPUs used by runs",
            "percentunit",
            {"{{host_name}} {{instance}}": f"robot_sf_process_tree_cpu_utilization_ratio {_HOST}"},
            "Share of the CPUs that each run may use.",
        ),
    ]
    return _dashboard(
        "Training runs: fleet",
        FLEET,
        "All runs: what goes on, what failed, what takes long.",
        variables=[
            variable(
                "pipeline",
                "Pipeline",
                "label_values(robot_sf_run_info, cicd_pipeline_name)",
                multi=True,
            )
        ],
        link=("A run", RUN),
        panels=panels,
    )


def run() -> builder.Dashboard:
    """Return the dashboard of one run."""
    of_run = 'robot_sf_run_info{cicd_pipeline_run_id="$run"}'
    step = "{{cicd_pipeline_task_name}}"

    def last(name: str) -> str:
        """Return what the run has reached: each process that owned it, one after the other, counts on."""
        return f"max(last_over_time({name}{_OF_RUN}[$__range]))"

    panels: Sequence[Builder[models.Panel]] = [
        number(
            "Status",
            "none",
            f"max by (robot_sf_run_status) (last_over_time({of_run}[$__range]) == 1)",
        ).text_mode(common_models.BigValueTextMode.NAME),
        number("Steps done", "none", last("robot_sf_run_steps_completed")),
        number("Steps planned", "none", last("robot_sf_run_steps_planned")),
        number("Elapsed", "s", last("robot_sf_run_elapsed_seconds")),
        number("ETA", "s", f"max(robot_sf_run_eta_remaining_seconds{_OF_RUN})"),
        number("ETA, at most (90 %)", "s", f"max(robot_sf_run_eta_high_seconds{_OF_RUN})"),
        _trace(),
        _steps_of_run(),
        curve(
            "Running steps",
            "s",
            {step: f"robot_sf_step_elapsed_seconds{_OF_RUN}"},
            "How long each step has been running: a saw tooth for each.",
        ),
        curve(
            "Progress",
            "none",
            {
                step: f"robot_sf_run_progress_done{_OF_RUN}",
                f"{step} in all": f"robot_sf_run_progress_total{_OF_RUN}",
            },
        ),
        curve(
            "Throughput",
            "none",
            {f"{step}, units/s": f"robot_sf_run_progress_rate_per_second{_OF_RUN}"},
        ),
        curve(
            "Remaining time, with its 80 % band",
            "s",
            {
                "low": f"robot_sf_run_eta_low_seconds{_OF_RUN}",
                "ETA": f"robot_sf_run_eta_remaining_seconds{_OF_RUN}",
                "high": f"robot_sf_run_eta_high_seconds{_OF_RUN}",
            },
        ),
        curve(
            "Metrics of the steps",
            "none",
            {f"{step} {{{{robot_sf_metric_name}}}}": f"robot_sf_step_metric{_OF_RUN}"},
            "What the pipeline logs with log_metric.",
        ),
        curve(
            "CPU",
            "percentunit",
            {
                "the run": f"robot_sf_process_tree_cpu_utilization_ratio{_PROCESS}",
                "the host": f"system_cpu_utilization_ratio{_PROCESS}",
                "throttled": f"rate(robot_sf_container_cpu_throttled_time_seconds_total{_PROCESS}[5m])",
            },
        ),
        curve(
            "Memory",
            "bytes",
            {
                "the run": f"robot_sf_process_tree_memory_usage_bytes{_PROCESS}",
                "the container": f"container_memory_working_set_bytes{_PROCESS}",
                "its limit": f"robot_sf_container_memory_limit_bytes{_PROCESS}",
                "available on the host": f"system_memory_linux_available_bytes{_PROCESS}",
            },
        ),
        curve(
            "Disk",
            "Bps",
            {
                "{{disk_io_direction}}": f"rate(robot_sf_process_tree_disk_io_bytes_total{_PROCESS}[5m])"
            },
        ),
        curve(
            "Pressure",
            "percentunit",
            {"{{robot_sf_pressure_resource}}": f"robot_sf_pressure_utilization_ratio{_PROCESS}"},
            "Share of the time in which some task of the host waited.",
        ),
        curve(
            "GPU",
            "percentunit",
            {
                "{{hw_id}} busy": f"hw_gpu_utilization_ratio{_PROCESS}",
                "{{hw_id}} memory": f"hw_gpu_memory_utilization_ratio{_PROCESS}",
            },
        ),
        curve(
            "GPU power and temperature",
            "none",
            {
                "{{hw_id}} W": f"hw_power_watts{_PROCESS}",
                "{{hw_id}} °C": f"hw_temperature_celsius{_PROCESS}",
            },
        ),
        rows(
            "Recommendations and anomalies",
            f"sum by (robot_sf_finding_kind, robot_sf_finding_id, robot_sf_finding_severity) (last_over_time(robot_sf_run_findings_total{_OF_RUN}[$__range])) > 0",
            names={
                "Value": "Times",
                "robot_sf_finding_kind": "Kind",
                "robot_sf_finding_id": "Rule",
                "robot_sf_finding_severity": "Severity",
            },
        )
        .height(8)
        .span(12),
    ]
    pipelines = "label_values(robot_sf_run_info, cicd_pipeline_name)"
    runs = 'label_values(robot_sf_run_info{cicd_pipeline_name="$pipeline"}, cicd_pipeline_run_id)'
    processes = 'label_values(robot_sf_run_member{cicd_pipeline_run_id="$run"}, instance)'
    traces = f"label_values({of_run}, robot_sf_run_trace_id)"
    return _dashboard(
        "Training runs: one run",
        RUN,
        "One run: its steps, its machine, its throughput and what was noticed.",
        variables=[
            variable("pipeline", "Pipeline", pipelines, multi=False),
            variable("run", "Run", runs, multi=False),
            variable("instance", "Processes", processes, multi=True, hidden=True),
            variable("trace", "Trace", traces, multi=False, hidden=True),
        ],
        link=("All runs", FLEET),
        panels=panels,
    )


def _trace() -> builder.Panel:
    """Return the panel with the run's timeline; the trace is complete when the run has ended."""
    asked = tempo.TempoQuery().query_type("traceql").query("$trace").datasource(TEMPO).ref_id("A")
    return (
        builder.Panel()
        .type("traces")
        .title("Timeline")
        .datasource(TEMPO)
        .height(12)
        .span(24)
        .with_target(asked)
    )


def _steps_of_run() -> table.Panel:
    """Return the spans of the run's steps, as soon as they have ended."""
    asked = (
        tempo.TempoQuery()
        .query_type("traceql")
        .query(
            '{ span.cicd.pipeline.run.id = "$run" && span.cicd.pipeline.task.name != nil } | select(span.cicd.pipeline.task.run.result, span.error.type)'
        )
        .limit(200)
        .datasource(TEMPO)
        .ref_id("A")
    )
    return (
        table.Panel().title("Ended steps").datasource(TEMPO).height(8).span(24).with_target(asked)
    )


def _dashboard(
    title: str,
    uid: str,
    about: str,
    *,
    variables: list[builder.QueryVariable],
    link: tuple[str, str],
    panels: Sequence[Builder[models.Panel]],
) -> builder.Dashboard:
    other, there = link
    made = (
        builder.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["robot_sf_otel", "training"])
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            builder.DashboardLink(other)
            .url(f"/d/{there}")
            .keep_time(True)
            .type(models.DashboardLinkType.LINK)
        )
    )
    for one in variables:
        made = made.with_variable(one)
    for panel in panels:
        made = made.with_panel(panel)
    return made


def rendered() -> dict[str, str]:
    """Return the dashboards as JSON, by the names of their files."""
    made = {"fleet.json": fleet(), "run.json": run()}
    return {
        name: JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"
        for name, dashboard in made.items()
    }


def main(folder: Path = OUTPUT) -> None:
    """Write the dashboards."""
    for name, text in rendered().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(*[Path(argument) for argument in sys.argv[1:]])
