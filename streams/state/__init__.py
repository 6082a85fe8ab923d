"""Room state."""
