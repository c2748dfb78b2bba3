# Everything a user or a developer types. Each target sets up what it needs and is quick the second time.
SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JARS := .cache/kafka/.ready
DURATION ?= $(or $(SECONDS),60)
BUDGET ?=
# Python keeps compiled files, whatever the environment says: else each process compiles its libraries anew.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help setup demo check format test test-fast fuzz-readers chaos fuzz bench lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) $(JARS) ## install Python packages into .venv and the broker's jars into .cache

$(READY): requirements.lock requirements.bootstrap pyproject.toml
	@test -n "$(PYTHON)" || { echo "saccade needs Python 3.11, 3.12 or 3.13 on PATH (or: make PYTHON=/path/to/python3)"; exit 1; }
	@echo "==> Python packages into $(VENV) ($(PYTHON); about 5 GB, torch being most of it)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing: install it (Debian, Ubuntu: apt-get install python3-venv)"; rm -rf $(VENV); exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.bootstrap
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

$(JARS): compose/broker/pom.xml $(READY)
	@command -v mvn >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "==> Maven (apt-get install maven)"; \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends maven >/dev/null; \
		else echo "Maven is missing. Install it and try again (Debian, Ubuntu: sudo apt-get install maven; macOS: brew install maven)"; exit 1; fi; }
	@echo "==> Apache Kafka's jars into .cache/kafka"
	@$(BIN)/python -m devstack fetch
	@mkdir -p $(@D) && touch $@

demo: setup ## the main job on the embedded stack: DURATION=60 BUDGET='1mbit@0,300kbit@20'
	@$(BIN)/saccade demo --seconds $(DURATION) $(if $(BUDGET),--budget '$(BUDGET)')

check: setup ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# A file of tests stays in one process, which has a Kafka and a Redis of its own; tests/conftest.py orders the files.
# The processes share the cores, so none has a second thread for its arithmetic.
test test-fast: export OMP_NUM_THREADS := 1

test: setup ## the tests, on real Kafka and Redis, in three processes
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Many tests wait, so that one process more than there are cores keeps them busy.
test-fast: $(READY) ## the tests that need no Java, Kafka, Redis or network, and no long computing
	@$(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder -m "not stack and not gpu and not slow and not index"

fuzz-readers: $(READY) ## 100,000 damaged images and 10,000 damaged containers for the producers' readers
	@PYTHONPATH=. $(BIN)/python tests/fuzz/readers.py

chaos: setup ## a seeded script of faults over a whole pipeline: SEED=1 SECONDS=780
	@SACCADE_CHAOS_SEED=$(or $(SEED),1) SACCADE_CHAOS_S=$(or $(SECONDS),780) $(BIN)/python -m pytest -q -s tests/chaos

fuzz: setup ## mutated messages through every decoder, and through running workers: SEED=1 MESSAGES=1000000
	@PYTHONPATH=. $(BIN)/python tests/fuzz/fuzz.py --seed $(or $(SEED),1) --messages $(or $(MESSAGES),1000000)
	@PYTHONPATH=. $(BIN)/python tests/fuzz/workers.py --seed $(or $(SEED),1)

bench: setup ## every benchmark; table on screen, runs/bench/results.json
	@$(BIN)/python -m lab.benchmarks

bench-%: setup
	@$(BIN)/python -m lab.benchmarks $*

lock: $(READY) ## resolve the dependencies anew into requirements.lock
	@$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra all --group dev --generate-hashes --no-emit-index-url --python-version 3.11 --universal -o requirements.lock

clean: ## remove what make and the runs created
	rm -rf $(VENV) .cache runs build *.egg-info
