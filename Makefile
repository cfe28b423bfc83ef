# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT ?= leakgauge-demo
# The oldest pip that is known to work is newer than what some systems come with.
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test lint unit benchmarks clean

demo: $(VENV)/.installed
	$(BIN)/leakgauge sweep --out $(DEMO_OUT)

test: lint unit

lint: $(VENV)/.developer
	$(BIN)/ruff check leakgauge tests benchmarks docs
	$(BIN)/ruff format --check leakgauge tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.developer
	$(BIN)/pytest -n 2

benchmarks: $(VENV)/.developer
	$(BIN)/python -m benchmarks $(ARGS)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leakgauge needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,mnist,tune,search,diffusion,accounting,flower,nvflare,mlflow,transformers]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO_OUT)
