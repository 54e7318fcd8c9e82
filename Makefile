# make setup | fast | test | soak | fuzz | bench | docs | examples NAME=chat
#
# Everything lives in .venv.  PYTHON chooses the interpreter that makes it
# (default: the first of python3.13, 3.12, 3.11, python3 that is 3.11 or newer).

SHELL   := /bin/bash
VENV    ?= .venv
BIN     := $(VENV)/bin
NAME    ?= chat
PYTEST  ?= $(BIN)/python -m pytest
# Test files run side by side: half of their time they wait.  On two cores 735 s by four (which
# leave 11 % of the CPUs' time unused), 706 by five (5 %).
JOBS    ?= 5

.PHONY: setup fast test soak fuzz bench docs examples clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml examples/run.py
	@python3 examples/run.py --make-venv $(VENV) $(if $(PYTHON),--python $(PYTHON))
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# Lint, types, walls, and the core's tests: under 15 seconds, for after each save.
fast: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q -n 2 --dist worksteal tests/core
	$(BIN)/python tests/core/coverage_by_own_file.py

# Everything there is.
test: fast
	$(PYTEST) -n $(JOBS) --dist worksteal

# The long forms, for an hour or two: three crowds of 10,000 WebSockets and 10,000 keep-alive
# clients, and a million connects behind a wire that loses packets; with the default deadlines.
# Then a million calls of LineClient, with deadlines that pass and forks in their midst, and a
# thousand deaths of those who write and collect logs.
soak: setup
	SOAK_CROWD=10000 SOAK_CHURN=1000000 $(PYTEST) -q -rP -o faulthandler_timeout=0 \
		tests/process/test_crowd.py tests/process/test_churn.py
	SOAK_CALLS=1000000 $(PYTEST) -q -rP -o faulthandler_timeout=0 tests/lines/test_storm.py
	SOAK_LOGS=1000 $(PYTEST) -q -rP -o faulthandler_timeout=0 tests/collector/test_torture.py

# The engine against Tornado's own server, for some minutes: its parser, and the whole of it
# in three ways. SEED chooses another course.
fuzz: setup
	@set -e; for side in parser server pieces application; do \
		$(BIN)/python tests/engine/fuzz.py --inputs 100000 --seed $(or $(SEED),1) --side $$side; done

bench: setup
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	@set -e; for script in bench/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done

# Writes the pages that are made from the code: docs/reference/settings.md.
docs: setup
	$(BIN)/python docs/generate.py

examples: setup
	@python3 examples/run.py --venv $(VENV) $(NAME)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
