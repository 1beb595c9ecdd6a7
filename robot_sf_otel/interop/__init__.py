"""Runs in other formats: read from them, and written to them."""
