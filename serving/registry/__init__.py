"""Room registry."""
