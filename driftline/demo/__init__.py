"""The demo: the whole product, started as a user would start it, on the example of examples/electricity/."""

from driftline.demo.run import run

__all__ = ["run"]
