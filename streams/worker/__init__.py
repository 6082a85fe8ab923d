"""Room worker."""
