"""The command line `robot-sf-otel`: thin commands over the store and the reports."""
