"""Callbacks and wrappers for training frameworks: they report to the step that is running.

Each module imports its framework, and nothing else imports the module. All are inert where
telemetry is off, and what goes wrong in them never reaches the training.
"""
