"""One command, one file: each has `command`, and imports what it needs when it is called for."""
