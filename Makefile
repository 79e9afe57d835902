# Two commands: `make demo` and `make test`. Each sets up what it needs, once, into .venv;
# a step that fails says which and why, and the next run carries on from there.
# Tests run in an order that SEED draws: the same for the same tree, so that what failed fails again;
# WORKERS processes share them, a file each at a time, the dearest first (tests/conftest.py): three,
# as tests of searches wait for Ray for much of their time.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.setup
PIP := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt
RUNS ?= runs
SEED ?= 1
WORKERS ?= 3
ORDER := --randomly-seed=$(SEED) --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

.PHONY: demo test test-all mutants check setup clean
.DELETE_ON_ERROR:

demo: setup
	@$(BIN)/python -m search.cli.demo --runs-dir "$(RUNS)"

test: setup
	@$(BIN)/python -m pytest -m "not slow" $(ORDER)

test-all: setup
	@$(BIN)/python -m pytest $(ORDER)

mutants: setup
	@$(BIN)/python -m benchmarks.mutants

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

setup: $(STAMPS)/done

$(STAMPS)/system:
	@echo "set-up 1/5: system packages (VLFeat, a C compiler, Python's headers)"
	@sh setup-system.sh "$(PYTHON)"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/venv: $(STAMPS)/system
	@echo "set-up 2/5: virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) could not make a virtual environment; the reason is above; run make again to carry on" >&2; exit 1; }
	@touch $@

$(STAMPS)/build: $(STAMPS)/venv constraints.txt
	@echo "set-up 3/5: what cyvlfeat is built with"
	@$(PIP) "setuptools<81" wheel cython numpy scipy || { echo "pip could not install the build tools; the reason is above; run make again to carry on" >&2; exit 1; }
	@touch $@

$(STAMPS)/cyvlfeat: $(STAMPS)/build
	@echo "set-up 4/5: cyvlfeat, compiled from source (about a minute)"
	@$(PIP) --no-build-isolation cyvlfeat || { echo "cyvlfeat could not be built; the reason is above; run make again to carry on" >&2; exit 1; }
	@touch $@

$(STAMPS)/done: $(STAMPS)/cyvlfeat pyproject.toml constraints.txt
	@echo "set-up 5/5: Python packages (a few minutes, 6 GB)"
	@$(PIP) --no-build-isolation --editable ".[dev]" || { echo "pip could not install the packages; the reason is above; run make again to carry on" >&2; exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info
