"""Performance tests: scenarios, repetitions in child processes, baselines, results."""
