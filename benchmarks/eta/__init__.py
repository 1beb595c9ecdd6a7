"""The product's ETA engine behind the interface of an evaluator of recorded timings."""
