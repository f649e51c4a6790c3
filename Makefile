# One word per job. `make demo` and `make test` do all the set-up on a fresh Debian or Ubuntu with Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# No set-up step talks to a terminal; linear algebra runs on one thread a process, because processes share the cores.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test services test-services test-training pjsua2 lint format bench bench-recognizer bench-services schemas clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'callwarden needs Python 3.11 or newer as "$(PYTHON)"; name another one with PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo 'Python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo 'Installing callwarden into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.installed
	@echo 'Installing what the tests need into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## start the engine and place a demo call into it (ONCE=1: end by itself)
	@$(BIN)/callwarden demo $(if $(ONCE),--once) $(DEMO_ARGS)

test: $(VENV)/.installed-dev ## run the tests
	@$(BIN)/python -m pytest $(if $(CI),,--quiet) --numprocesses 2 --dist loadfile --cov --cov-report=term:skip-covered $(TEST_ARGS)

services: $(VENV)/.installed-dev ## start a Kafka and an Elasticsearch for tests, until Ctrl-C (needs Java and Maven)
	@$(BIN)/python -m tests.services

test-services: $(VENV)/.installed-pjsua2 ## run the tests on real Kafka, Elasticsearch and pjsua2
	@$(BIN)/python -m tests.services -- \
	  $(BIN)/python -m pytest $(if $(CI),,--quiet) -m services --numprocesses 2 --dist loadfile --durations 10 $(TEST_ARGS)

test-training: $(VENV)/.installed-training ## run the tests of the training of networks (installs torch, about 5 GB)
	@$(BIN)/python -m pytest $(if $(CI),,--quiet) -m training --durations 5 $(TEST_ARGS)

$(VENV)/.installed-training: pyproject.toml | $(VENV)/.installed-dev
	@echo 'Installing what training needs into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --editable '.[train]'
	@touch $@

pjsua2: $(VENV)/.installed-pjsua2 ## build PJSIP and its Python module once, and install it

$(VENV)/.installed-pjsua2: tests/services/pjsua2/build-pjsua2.sh | $(VENV)/.installed-dev
	@$(BIN)/python -m tests.services.build_pjsua2
	@touch $@

lint: $(VENV)/.installed-dev ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## write the code in its one form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## measure; prints a table, writes build/bench/*.json
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-recognizer: $(VENV)/.installed-dev ## all measures of the recogniser and one summary (BENCH_ARGS=--quick: 5 minutes)
	@$(BIN)/python -m tests.bench.recognizer_report $(BENCH_ARGS)

bench-services: $(VENV)/.installed-pjsua2 ## the same on real Kafka, Elasticsearch and pjsua2, beside the embedded parts
	@$(BIN)/python -m tests.services -- $(BIN)/python -m tests.bench services $(BENCH_ARGS)

schemas: $(VENV)/.installed-dev ## write events/schemas from the records
	@$(BIN)/python -m events.schema_files

clean: ## remove what was built (not .venv)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
