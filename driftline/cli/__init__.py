"""The command line: arguments come in; an exit status, results on stdout and sentences on stderr go out.

Open `main.py` first: the table of all commands, and the function that turns errors into words. Then:

- `packages.py`, `processor.py`, `logs.py`: what has to be right before anything of ours is imported or logged.
- `invocation.py`: the options that every command has, and the settings that they lead to.
- `file_options.py`, `known_model.py`: the options that say what a file holds; whether the configuration has a model.
- `readiness.py`: what a process needs before it starts.
- `commands/`: the commands, a file each.
"""
