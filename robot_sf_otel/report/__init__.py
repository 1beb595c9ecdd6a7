"""What people see of a run: progress on the console, tables at the command line."""
