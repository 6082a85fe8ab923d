"""Events a second of one core: open __main__.py first; plain_faust.py and bare_loop.py are what Driftline is compared with."""
