"""Room stages."""
