"""Room windows."""
