"""Makes the two Grafana dashboards: `python collector-config/dashboards.py`, with the library of Grafana's own types.

What a panel asks stands here and nowhere else; the JSON files beside are what comes out. A test compares
them, and asks a real Prometheus every query.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, stat, table, tempo, timeseries
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUTPUT: Final = Path(__file__).parent / "grafana" / "dashboards"
PROMETHEUS: Final = models.DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO: Final = models.DataSourceRef(type_val="tempo", uid="tempo")
FLEET: Final = "robot-sf-fleet"
RUN: Final = "robot-sf-run"

_OF_PIPELINES: Final = '{cicd_pipeline_name=~"$pipeline"}'
_INFO: Final = 'robot_sf_run_info{cicd_pipeline_name=~"$pipeline"}'
_HOST: Final = "* on (job, instance) group_left (host_name) target_info"
_PROCESS: Final = '{instance=~"$instance"}'
_OF_RUN: Final = '{instance=~"$instance", cicd_pipeline_name=~"$pipeline"}'
_TO_RUN: Final = (
    f"/d/{RUN}?var-run=${{__data.fields.cicd_pipeline_run_id}}"
    "&var-pipeline=${__data.fields.cicd_pipeline_name}&${__url_time_range}"
)


def query(expr: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    """Return a PromQL query, over the time that is shown or (`instant`) at its end as a table."""
    asked = prometheus.Dataquery().expr(expr).datasource(PROMETHEUS)
    if instant:
        return asked.instant().format(PromQueryFormat.TABLE)
    return asked.range().legend_format(legend or "__auto")


def curve(
    title: str, unit: str, *queries: prometheus.Dataquery, about: str = ""
) -> timeseries.Panel:
    """Return a panel of curves over time."""
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
    for letter, asked in zip("ABCDEFG", queries, strict=False):
        panel = panel.with_target(asked.ref_id(letter))
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
    title: str,
    *queries: prometheus.Dataquery,
    hidden: tuple[str, ...] = (),
    names: dict[str, str] | None = None,
) -> table.Panel:
    """Return a table with a row for each series; a run's id leads to the dashboard of the run."""
    panel = table.Panel().title(title).datasource(PROMETHEUS).height(9).span(24).no_value("--")
    for letter, asked in zip("ABCDEFG", queries, strict=False):
        panel = panel.with_target(asked.ref_id(letter))
    if len(queries) > 1:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    left_out = ("Time", "__name__", "job", "otel_scope_name", "otel_scope_version", *hidden)
    return panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(left_out, True),
                "renameByName": names or {},
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
    if multi:
        made = made.all_value(".*")
    return made.hide(models.VariableHide.HIDE_VARIABLE) if hidden else made


def fleet() -> builder.Dashboard:
    """Return the dashboard of all runs."""
    seconds = {"unit": "s"}
    runs = linked(
        rows(
            "Runs",
            query(
                f"max by (cicd_pipeline_name, cicd_pipeline_run_id, robot_sf_run_status, instance) (last_over_time({_INFO}[$__range]) == 1)",
                instant=True,
            ),
            hidden=("Value", "instance"),
            names={"cicd_pipeline_name": "Pipeline", "robot_sf_run_status": "Status"},
        )
    )
    return (
        _dashboard(
            "Training runs: fleet", FLEET, "All runs: what goes on, what failed, what takes long."
        )
        .with_variable(
            variable(
                "pipeline",
                "Pipeline",
                "label_values(robot_sf_run_info, cicd_pipeline_name)",
                multi=True,
            )
        )
        .link(
            builder.DashboardLink("A run")
            .url(f"/d/{RUN}")
            .keep_time(True)
            .type(models.DashboardLinkType.LINK)
        )
        .with_panel(number("Open now", "none", f"sum(cicd_pipeline_run_active{_OF_PIPELINES})"))
        .with_panel(
            number(
                "Completed",
                "none",
                'count(last_over_time(robot_sf_run_info{cicd_pipeline_name=~"$pipeline", robot_sf_run_status="completed"}[$__range]) == 1)',
                "Runs that ended in the time shown.",
            )
        )
        .with_panel(
            number(
                "Failed",
                "none",
                'count(last_over_time(robot_sf_run_info{cicd_pipeline_name=~"$pipeline", robot_sf_run_status="failed"}[$__range]) == 1)',
            )
        )
        .with_panel(
            number(
                "Median duration",
                "s",
                f"histogram_quantile(0.5, sum by (le) (last_over_time(cicd_pipeline_run_duration_seconds_bucket{_OF_PIPELINES}[$__range])))",
                "Of the runs that ended, as far as the histogram's buckets tell.",
            )
        )
        .with_panel(
            number(
                "Next one done in", "s", f"min(robot_sf_run_eta_remaining_seconds{_OF_PIPELINES})"
            )
        )
        .with_panel(
            number(
                "Last one done in", "s", f"max(robot_sf_run_eta_remaining_seconds{_OF_PIPELINES})"
            )
        )
        .with_panel(runs)
        .with_panel(
            rows(
                "Open runs: steps and ETA",
                query(
                    f"sum by (cicd_pipeline_name, instance, host_name) (robot_sf_run_steps_completed{_OF_PIPELINES} {_HOST})",
                    instant=True,
                ),
                query(
                    f"sum by (cicd_pipeline_name, instance, host_name) (robot_sf_run_steps_planned{_OF_PIPELINES} {_HOST})",
                    instant=True,
                ),
                query(
                    f"sum by (cicd_pipeline_name, instance, host_name) (robot_sf_run_elapsed_seconds{_OF_PIPELINES} {_HOST})",
                    instant=True,
                ),
                query(
                    f"sum by (cicd_pipeline_name, instance, host_name) (robot_sf_run_eta_remaining_seconds{_OF_PIPELINES} {_HOST})",
                    instant=True,
                ),
                query(
                    f"sum by (cicd_pipeline_name, instance, host_name) (robot_sf_run_eta_high_seconds{_OF_PIPELINES} {_HOST})",
                    instant=True,
                ),
                names={
                    "Value #A": "Steps done",
                    "Value #B": "Steps planned",
                    "Value #C": "Elapsed",
                    "Value #D": "ETA",
                    "Value #E": "ETA, at most (90 %)",
                    "cicd_pipeline_name": "Pipeline",
                    "host_name": "Host",
                },
            ).override_by_regexp(
                "Elapsed|ETA.*", [models.DynamicConfigValue(id_val="unit", value=seconds["unit"])]
            )
        )
        .with_panel(
            rows(
                "Slowest steps: mean duration and number",
                query(
                    f"topk(20, sum by (cicd_pipeline_name, cicd_pipeline_task_name) (last_over_time(robot_sf_step_duration_seconds_sum{_OF_PIPELINES}[$__range])) / sum by (cicd_pipeline_name, cicd_pipeline_task_name) (last_over_time(robot_sf_step_duration_seconds_count{_OF_PIPELINES}[$__range])))",
                    instant=True,
                ),
                query(
                    f"sum by (cicd_pipeline_name, cicd_pipeline_task_name) (last_over_time(robot_sf_step_duration_seconds_count{_OF_PIPELINES}[$__range]))",
                    instant=True,
                ),
                names={
                    "Value #A": "Mean",
                    "Value #B": "Executions",
                    "cicd_pipeline_name": "Pipeline",
                    "cicd_pipeline_task_name": "Step",
                },
            ).override_by_name("Mean", [models.DynamicConfigValue(id_val="unit", value="s")])
        )
        .with_panel(
            rows(
                "Failures by kind of error",
                query(
                    f"sum by (cicd_pipeline_name, error_type) (last_over_time(cicd_pipeline_run_errors_total{_OF_PIPELINES}[$__range])) > 0",
                    instant=True,
                ),
                names={"Value": "Runs", "cicd_pipeline_name": "Pipeline", "error_type": "Error"},
            ).span(12)
        )
        .with_panel(
            rows(
                "Recommendations and anomalies",
                query(
                    f"sum by (cicd_pipeline_name, robot_sf_finding_id, robot_sf_finding_severity) (last_over_time(robot_sf_run_findings_total{_OF_PIPELINES}[$__range])) > 0",
                    instant=True,
                ),
                names={
                    "Value": "Times",
                    "cicd_pipeline_name": "Pipeline",
                    "robot_sf_finding_id": "Rule",
                    "robot_sf_finding_severity": "Severity",
                },
            ).span(12)
        )
        .with_panel(
            curve(
                "Open runs",
                "none",
                query(
                    f"sum by (cicd_pipeline_name) (cicd_pipeline_run_active{_OF_PIPELINES})",
                    "{{cicd_pipeline_name}}",
                ),
            )
        )
        .with_panel(
            curve(
                "CPUs used by runs",
                "percentunit",
                query(
                    f"robot_sf_process_tree_cpu_utilization_ratio {_HOST}",
                    "{{host_name}} {{instance}}",
                ),
                about="Share of the CPUs that each run may use.",
            )
        )
    )


def run() -> builder.Dashboard:
    """Return the dashboard of one run."""
    of_run = 'robot_sf_run_info{cicd_pipeline_run_id="$run"}'
    return (
        _dashboard(
            "Training runs: one run",
            RUN,
            "One run: its steps, its machine, its throughput and what was noticed.",
        )
        .with_variable(
            variable(
                "pipeline",
                "Pipeline",
                "label_values(robot_sf_run_info, cicd_pipeline_name)",
                multi=False,
            )
        )
        .with_variable(
            variable(
                "run",
                "Run",
                'label_values(robot_sf_run_info{cicd_pipeline_name="$pipeline"}, cicd_pipeline_run_id)',
                multi=False,
            )
        )
        .with_variable(
            variable(
                "instance", "Process", f"label_values({of_run}, instance)", multi=False, hidden=True
            )
        )
        .with_variable(
            variable(
                "trace",
                "Trace",
                f"label_values({of_run}, robot_sf_run_trace_id)",
                multi=False,
                hidden=True,
            )
        )
        .link(
            builder.DashboardLink("All runs")
            .url(f"/d/{FLEET}")
            .keep_time(True)
            .type(models.DashboardLinkType.LINK)
        )
        .with_panel(
            number(
                "Status",
                "none",
                f"max by (robot_sf_run_status) (last_over_time({of_run}[$__range]) == 1)",
            ).text_mode(common_models.BigValueTextMode.NAME)
        )
        .with_panel(
            number(
                "Steps done",
                "none",
                f"last_over_time(robot_sf_run_steps_completed{_OF_RUN}[$__range])",
            )
        )
        .with_panel(
            number(
                "Steps planned",
                "none",
                f"last_over_time(robot_sf_run_steps_planned{_OF_RUN}[$__range])",
            )
        )
        .with_panel(
            number(
                "Elapsed", "s", f"last_over_time(robot_sf_run_elapsed_seconds{_OF_RUN}[$__range])"
            )
        )
        .with_panel(number("ETA", "s", f"robot_sf_run_eta_remaining_seconds{_OF_RUN}"))
        .with_panel(number("ETA, at most (90 %)", "s", f"robot_sf_run_eta_high_seconds{_OF_RUN}"))
        .with_panel(_trace())
        .with_panel(_steps_of_run())
        .with_panel(
            curve(
                "Running steps",
                "s",
                query(f"robot_sf_step_elapsed_seconds{_OF_RUN}", "{{cicd_pipeline_task_name}}"),
                about="How long each step has been running: a saw tooth for each.",
            )
        )
        .with_panel(
            curve(
                "Progress",
                "none",
                query(f"robot_sf_run_progress_done{_OF_RUN}", "{{cicd_pipeline_task_name}}"),
                query(
                    f"robot_sf_run_progress_total{_OF_RUN}", "{{cicd_pipeline_task_name}} in all"
                ),
            )
        )
        .with_panel(
            curve(
                "Throughput",
                "none",
                query(
                    f"robot_sf_run_progress_rate_per_second{_OF_RUN}",
                    "{{cicd_pipeline_task_name}}, units/s",
                ),
            )
        )
        .with_panel(
            curve(
                "Remaining time, with its 80 % band",
                "s",
                query(f"robot_sf_run_eta_low_seconds{_OF_RUN}", "low"),
                query(f"robot_sf_run_eta_remaining_seconds{_OF_RUN}", "ETA"),
                query(f"robot_sf_run_eta_high_seconds{_OF_RUN}", "high"),
            )
        )
        .with_panel(
            curve(
                "Metrics of the steps",
                "none",
                query(
                    f"robot_sf_step_metric{_OF_RUN}",
                    "{{cicd_pipeline_task_name}} {{robot_sf_metric_name}}",
                ),
                about="What the pipeline logs with log_metric.",
            )
        )
        .with_panel(
            curve(
                "CPU",
                "percentunit",
                query(f"robot_sf_process_tree_cpu_utilization_ratio{_PROCESS}", "the run"),
                query(f"system_cpu_utilization_ratio{_PROCESS}", "the host"),
                query(
                    f"rate(robot_sf_container_cpu_throttled_time_seconds_total{_PROCESS}[5m])",
                    "throttled",
                ),
            )
        )
        .with_panel(
            curve(
                "Memory",
                "bytes",
                query(f"robot_sf_process_tree_memory_usage_bytes{_PROCESS}", "the run"),
                query(f"container_memory_working_set_bytes{_PROCESS}", "the container"),
                query(f"robot_sf_container_memory_limit_bytes{_PROCESS}", "its limit"),
                query(f"system_memory_linux_available_bytes{_PROCESS}", "available on the host"),
            )
        )
        .with_panel(
            curve(
                "Disk",
                "Bps",
                query(
                    f"rate(robot_sf_process_tree_disk_io_bytes_total{_PROCESS}[5m])",
                    "{{disk_io_direction}}",
                ),
            )
        )
        .with_panel(
            curve(
                "Pressure",
                "percentunit",
                query(
                    f"robot_sf_pressure_utilization_ratio{_PROCESS}",
                    "{{robot_sf_pressure_resource}}",
                ),
                about="Share of the time in which some task of the host waited.",
            )
        )
        .with_panel(
            curve(
                "GPU",
                "percentunit",
                query(f"hw_gpu_utilization_ratio{_PROCESS}", "{{hw_id}} busy"),
                query(f"hw_gpu_memory_utilization_ratio{_PROCESS}", "{{hw_id}} memory"),
            )
        )
        .with_panel(
            curve(
                "GPU power and temperature",
                "none",
                query(f"hw_power_watts{_PROCESS}", "{{hw_id}} W"),
                query(f"hw_temperature_celsius{_PROCESS}", "{{hw_id}} °C"),
            )
        )
        .with_panel(
            rows(
                "Recommendations and anomalies",
                query(
                    f"sum by (robot_sf_finding_kind, robot_sf_finding_id, robot_sf_finding_severity) (last_over_time(robot_sf_run_findings_total{_OF_RUN}[$__range])) > 0",
                    instant=True,
                ),
                names={
                    "Value": "Times",
                    "robot_sf_finding_kind": "Kind",
                    "robot_sf_finding_id": "Rule",
                    "robot_sf_finding_severity": "Severity",
                },
            )
            .height(8)
            .span(12)
        )
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
            '{ resource.service.instance.id = "$instance" && span.cicd.pipeline.task.name != nil } | select(span.cicd.pipeline.task.run.result, span.error.type)'
        )
        .limit(200)
        .datasource(TEMPO)
        .ref_id("A")
    )
    return (
        table.Panel().title("Ended steps").datasource(TEMPO).height(8).span(24).with_target(asked)
    )


def _dashboard(title: str, uid: str, about: str) -> builder.Dashboard:
    return (
        builder.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["robot_sf_otel", "training"])
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )


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
