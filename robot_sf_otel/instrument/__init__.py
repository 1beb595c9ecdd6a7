"""Capture: decorators and handles that turn a pipeline into spans and journal events.

OpenTelemetry's API only: no SDK, no I/O. What records, reads sensors and draws is handed in by
`bootstrap` through the ports in `runtime`.
"""
