"""Room references."""
