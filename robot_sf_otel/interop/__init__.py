"""Runs on their way from and to other systems: OTLP files and endpoints, other trackers."""
