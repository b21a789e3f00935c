# `make demo` and `make test` do everything themselves on a machine with Python 3.11+ (and, for the tests, a JDK 17 and
# Maven).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the two stamps say which lock an environment was made from
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

.PHONY: help demo install test test-unit test-contract test-integration test-e2e console-test dashboards-check faults faults-quick \
	bench bench-quick bench-micro check docs dist lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(RUN) ## a seeded shop in this terminal and on a page to join it: no server, no Java
	$(BIN)/prefstream demo

install: $(RUN) ## the command prefstream, in .venv/bin
	@echo "prefstream is at $(BIN)/prefstream: export PATH=\"$(CURDIR)/$(BIN):\$$PATH\""

test: $(DEV) ## everything: unit, contract, integration, end to end, some faults; on real Kafka and Cassandra
	@$(BIN)/python -m tests.run

test-unit: $(DEV) ## fast tests only: no server, no clock
	$(BIN)/python -m pytest -n auto --dist worksteal tests/unit

test-contract: $(DEV) ## the one suite that every store passes
	$(BIN)/python -m pytest tests/contract

test-integration: $(DEV) ## parts on real Kafka and Cassandra
	$(BIN)/python -m pytest tests/integration

test-e2e: $(DEV) ## whole workers on real Kafka and Cassandra
	$(BIN)/python -m pytest tests/e2e

console-test: $(DEV) ## the live page in a real browser
	$(BIN)/python -m pytest tests/unit/streams/console tests/console

faults: $(DEV) ## every fault on real Kafka and Cassandra, all profiles checked after each (25 minutes at most)
	$(BIN)/python -m tests.faults --all --json

dashboards-check: $(DEV) ## every query of every dashboard and every rule on a real Prometheus and a worker under load
	$(BIN)/python -m tests.e2e.dashboards

faults-quick: $(DEV) ## the likeliest faults, less of each (4 minutes at most)
	$(BIN)/python -m tests.faults --all --quick --json

bench: $(DEV) ## speed beside peers, with plots in bench-results/ (15 minutes at most)
	$(BIN)/python -m tests.bench

bench-quick: $(DEV) ## the figures alone (3 minutes)
	$(BIN)/python -m tests.bench --quick

bench-micro: $(DEV) ## the pure functions of the hot path alone, to find regressions (1 minute)
	$(BIN)/python -m pytest -q tests/bench/micro.py

check: $(DEV) ## lint, format and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(DEV) ## the documentation site in site/, with the pages of the reference that the code writes
	$(BIN)/python -m deploy.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html; with the search: python3 -m http.server -d site"

LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --group build pyproject.toml

dist: $(DEV) ## the wheel and the sdist in dist/, tried in an empty environment (2 minutes)
	$(BIN)/python -m tests.dist

lock: ## renew the hashed locks from the ranges in pyproject.toml (needs uv)
	$(LOCK) --output-file requirements.lock
	$(LOCK) --group dev --output-file requirements-dev.lock
	$(LOCK) --extra cuda --output-file requirements-cuda.lock

clean: ## remove the environment and what runs left behind
	rm -rf $(VENV) .prefstream site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Debian keeps a part of Python's venv in a package; who may not install it is told by venv which one it is
INSTALL_VENV = package=`$(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'`; \
	as_root=; [ `id -u` = 0 ] || as_root="sudo -n"; $$as_root apt-get --version >/dev/null 2>&1 && \
	echo "installing $$package with apt-get" && $$as_root apt-get -qq update && \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $$package >/dev/null

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "prefstream needs Python 3.11 or newer; found `$(PYTHON) --version`. Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(INSTALL_VENV); } || true
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUN): requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the dependencies into $(VENV): one to two minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
