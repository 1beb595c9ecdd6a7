"""What the package costs, measured side by side with the alternatives: `python -m benchmarks`."""
