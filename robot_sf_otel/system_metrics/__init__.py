"""Sensors of processes, host and container, and the facts that are recorded with a run."""
