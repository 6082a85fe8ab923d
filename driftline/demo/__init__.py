"""The demo: the whole product, started as a user would start it, on the example of examples/electricity/."""
