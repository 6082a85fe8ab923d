"""Room config."""
