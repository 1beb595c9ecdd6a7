"""The names of the environment variables that are read or set, one documented constant each."""

from typing import Final

ENABLED: Final = "ROBOT_SF_OTEL_ENABLED"
"""`true`: on without a code change; `false`: off whatever the code says. Default: unset."""

ARTIFACT_ROOT: Final = "ROBOT_SF_ARTIFACT_ROOT"
"""Artifact root; made absolute when telemetry is configured. Default: `output`."""

RUN_DIR: Final = "ROBOT_SF_OTEL_RUN_DIR"
"""Run directory that a child process joins; set by its parent, absolute. Default: unset."""

RUN_NAME: Final = "ROBOT_SF_OTEL_RUN_NAME"
"""Directory name of the run instead of a generated one. Default: unset."""

INTERVAL: Final = "ROBOT_SF_OTEL_INTERVAL"
"""Seconds between telemetry samples, at least 0.1. Default: `1.0`."""

GPU: Final = "ROBOT_SF_OTEL_GPU"
"""`auto`: NVIDIA GPUs are read where there are any; `off`: never. Default: `auto`."""

CONSOLE: Final = "ROBOT_SF_OTEL_CONSOLE"
"""Progress on stderr: `auto`, `lines` or `off`. Default: `auto`."""

WATCHDOG: Final = "ROBOT_SF_OTEL_WATCHDOG"
"""Whether a small process closes the record of a killed run: `true` or `false`. Default: `true`."""

ON_FINISH: Final = "ROBOT_SF_OTEL_ON_FINISH"
"""Command run when a run has ended; gets the run directory and the status as last two arguments.
Default: unset."""

LOG: Final = "ROBOT_SF_OTEL_LOG"
"""Whether log lines of Loguru and `logging` go to the run's `log.txt` too: `true` or `false`.
Default: `true`."""

RULES: Final = "ROBOT_SF_OTEL_RULES"
"""TOML file with thresholds of the recommendation rules. Default: unset."""

REDACT: Final = "ROBOT_SF_OTEL_REDACT"
"""Extra regular expression of names whose values are masked. Default: unset."""

OTLP_PRIVATE: Final = "ROBOT_SF_OTEL_OTLP_PRIVATE"
"""`true`: command lines, paths, parameters, messages of exceptions and names of users are left out
of what leaves the machine; the record on disk keeps them. Default: `false`."""

OTEL_SDK_DISABLED: Final = "OTEL_SDK_DISABLED"
"""OpenTelemetry's own switch: `true` turns telemetry off."""

OTEL_TRACES_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
"""OpenTelemetry's list of span exporters; `otlp` is implied by an endpoint."""

OTEL_METRICS_EXPORTER: Final = "OTEL_METRICS_EXPORTER"
"""OpenTelemetry's list of metric exporters; `otlp` is implied by an endpoint."""

OTEL_LOGS_EXPORTER: Final = "OTEL_LOGS_EXPORTER"
"""OpenTelemetry's list of log exporters; `otlp` is implied by an endpoint."""

OTEL_EXPORTER_OTLP_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""Set: spans, metrics and events also go out by OTLP."""

OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""Like OTEL_EXPORTER_OTLP_ENDPOINT, for spans alone."""

OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
"""Like OTEL_EXPORTER_OTLP_ENDPOINT, for metrics alone."""

OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
"""Like OTEL_EXPORTER_OTLP_ENDPOINT, for events alone."""

OTEL_EXPORTER_OTLP_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
"""`grpc` (default) or `http/protobuf`."""

OTEL_EXPORTER_OTLP_TIMEOUT: Final = "OTEL_EXPORTER_OTLP_TIMEOUT"
"""Seconds that an OTLP request may take. Default: `10`."""

OTEL_RESOURCE_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
"""Attributes of the resource, `name=value,…`; they win over those that are found out."""

OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN: Final = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
"""`logs`: exceptions go out as log records; `logs/dup`: on spans too. Default: on spans."""

OTEL_SERVICE_NAME: Final = "OTEL_SERVICE_NAME"
"""`service.name` of the resource. Default: `robot-sf-otel`."""

TRACEPARENT: Final = "TRACEPARENT"
"""W3C trace context of the parent span, for child processes."""
