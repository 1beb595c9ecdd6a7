"""The record of a run as pure values: types, journal events, the fold between them, renderings."""
