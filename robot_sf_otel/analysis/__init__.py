"""Pure functions over records: what can be concluded from what was recorded."""
