"""Driftline's core: windows, references, scores, verdicts, incidents. Pure: no I/O, no clock, no globals."""
