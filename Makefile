# make demo        set up .venv and run the main example on the packaged sample
# make test        lint, type checks and tests: everything a change must pass
# make quick       the quick tests alone
# make test-all    lint, type checks and all tests
# make coverage    the quick tests, with the lines they do not cover
# make format      format the code and fix what ruff can fix
# make bench       benchmark, next to other engines in separate environments (minutes)
# make docs        regenerate the generated parts of docs/, and execute its notebooks
# make site        build the documentation site in build/site
# make clean       remove what the other targets created
#
# To keep your own build of torch, for example for CUDA:
#   make demo CONSTRAINTS=/dev/null VENV_FLAGS=--system-site-packages

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV_FLAGS ?=
WORKERS ?= 2
EXTRA ?= dev
QUICK ?= not slow

VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --disable-pip-version-check --constraint $(CONSTRAINTS)
# The age of /dev/null means nothing, and a URL has none.
INPUTS := pyproject.toml $(wildcard $(filter-out /dev/%,$(CONSTRAINTS)))
SETTINGS := $(PYTHON) | $(CONSTRAINTS) | $(VENV_FLAGS)

.PHONY: demo test quick test-all coverage lint format bench docs site clean FORCE
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: $(VENV)/.runtime
	@echo "The command is $(VENV)/bin/backtest; to have it on the PATH: source $(VENV)/bin/activate"
	$(RUN) -m backtest demo

# Workers share the cores, so a thread pool in each would only make them wait for one another.
test quick test-all coverage: export OMP_NUM_THREADS := 1
test quick test-all coverage: export MKL_NUM_THREADS := 1
test quick test-all coverage: export OPENBLAS_NUM_THREADS := 1
test quick test-all coverage: export NUMBA_NUM_THREADS := 1
test quick test-all coverage: export POLARS_MAX_THREADS := 1

test: lint quick

quick: $(VENV)/.dev
	$(RUN) -m pytest -n $(WORKERS) -m "$(QUICK)"

test-all: lint
	$(RUN) -m pytest -n $(WORKERS)

coverage: $(VENV)/.dev
	$(RUN) -m pytest -n $(WORKERS) -m "$(QUICK)" --cov --cov-report=term-missing:skip-covered

lint: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/.dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(VENV)/.runtime
	$(RUN) -m benchmarks.cpu --peers --long 50000000

docs: $(VENV)/.dev
	$(RUN) -m docs.generate
	$(RUN) -m docs.run_notebooks

site: $(VENV)/.dev
	$(RUN) -m sphinx --fail-on-warning --keep-going docs build/site

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Recreated when the settings change, so that flags never apply to an environment made without them.
$(VENV)/.settings: FORCE
	@if ! { echo '$(SETTINGS)' | cmp -s - $@ && $(RUN) -c ''; } 2>/dev/null; then \
	  command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON) not found: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=..." >&2; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "$$($(PYTHON) --version 2>&1) will not do: this needs Python 3.11, 3.12 or 3.13." >&2; \
	    echo "Name one that you have, for example: make demo PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments: on Debian or Ubuntu install python3-venv" >&2; \
	    echo "(sudo apt install python3-venv), then run make again." >&2; exit 1; }; \
	  [ ! -e $@ ] || echo "$(VENV) is made anew: it was made with $$(cat $@), not $(SETTINGS)"; \
	  rm -rf $(VENV); \
	  $(PYTHON) -m venv $(VENV_FLAGS) $(VENV) && echo '$(SETTINGS)' > $@; \
	fi

$(VENV)/.runtime: $(VENV)/.settings $(INPUTS)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.settings $(INPUTS)
	$(INSTALL) $(INSTALL_FLAGS) --editable '.[$(EXTRA)]'
	@touch $(VENV)/.runtime $@
