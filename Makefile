# make demo    run the whole loop on real data       make test    lint and every test this machine can run
# make test-fast   lint and the tests that start no server and no process: for after every edit
# make lint    ruff and mypy                         make quick   the quick form of each benchmark, or of some: QUICK="chaos soak"
# make full-NAME   the full form of one benchmark, by hand, and its table into docs/; after an interruption it goes on
# make lock    pin the development environment anew
# ARGS goes behind the command: make demo ARGS="--json", make test ARGS="-k kafka"
# WORKERS processes share the files of tests: make test WORKERS=0 ARGS="--pdb" runs all in one

PYTHON ?= python3
ARGS ?=
# Two, because most tests wait for real servers; each has a Kafka and a Redis of its own.
WORKERS ?= 2
# Names of benchmarks; without any, all of benchmarks/lanes/catalogue.py.
QUICK ?=

VENV := .venv
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
LOCK := requirements-dev.lock
UV_VERSION := 0.13.9

.PHONY: demo test lint quick lock install install-dev
.SILENT:

demo: install
	$(VENV)/bin/driftline demo $(ARGS)

test: lint
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# What starts no server and no process (pytest.mark.fast): after every edit.
.PHONY: test-fast
test-fast: lint
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "fast and not slow" $(ARGS)

lint: install-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

quick: install-dev
	$(VENV)/bin/python -m benchmarks.lanes quick $(QUICK)

full-%: install-dev
	$(VENV)/bin/python -m benchmarks.lanes full $*

# One lock for all platforms and Pythons, without hosts or hashes; uv writes it, plain pip reads it.
lock: $(VENV)/bin/python
	$(PIP) install uv==$(UV_VERSION)
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --upgrade --no-header pyproject.toml -o $(LOCK)
	echo "$(LOCK) is new: run make test"

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

# The stamps keep installation out of every run but the first and those after a change of what is needed.
$(VENV)/installed: pyproject.toml $(LOCK) | $(VENV)/bin/python
	echo "Installing Driftline into $(VENV) (once)"
	$(PIP) install --constraint $(LOCK) --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml $(LOCK) | $(VENV)/bin/python
	echo "Installing Driftline and its development tools into $(VENV) (once)"
	$(PIP) install --requirement $(LOCK)
	$(PIP) install --no-deps --editable .
	touch $(VENV)/installed $@

$(VENV)/bin/python:
	command -v $(PYTHON) >/dev/null || { echo "Driftline needs Python 3.11 or later: no $(PYTHON) on PATH; install it, or name one: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Driftline needs Python 3.11 or later: $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())'); name a newer one: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu install python3-venv" >&2; exit 2; }
