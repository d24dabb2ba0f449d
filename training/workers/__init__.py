"""Fitting on many rows: in this process, on a Ray Train group, or from a stream that no process holds whole."""
