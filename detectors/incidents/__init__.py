"""Room incidents."""
