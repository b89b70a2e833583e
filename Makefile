# On a machine that has python3 (3.11+) and make: `make run` and `make test`; before a change lands, `make test-all`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
AGENT_SERVER := .venv-agent-server

.PHONY: help install run test test-all check mutants soak bench bench-cold screenshots lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' $(MAKEFILE_LIST) | awk '{ printf "make %-11s", $$1; $$1 = ""; print }'

install: .venv/installed ## make .venv with what the service and its tests need

.venv/installed: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("chat-api needs Python 3.11 or newer (set PYTHON=)" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@echo "installing into .venv (once, about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(AGENT_SERVER)/installed: tests/agent_server/requirements.txt
	@$(PYTHON) -m venv $(AGENT_SERVER)
	@echo "installing Microsoft's server of the Responses protocol into $(AGENT_SERVER), for the tests"
	@$(AGENT_SERVER)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/agent_server/requirements.txt
	@touch $@

run: install ## the service; without Azure settings, against the local emulator (TRACE=1 prints spans)
	@$(BIN)/python -m scripts.run_local

check: install ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

PYTEST := $(BIN)/pytest -n 3 --dist loadfile

test: check $(AGENT_SERVER)/installed ## check, then all but the slow tests (five minutes on two cores)
	@$(PYTEST) -m "not slow"

test-all: check $(AGENT_SERVER)/installed ## check, then all tests (under an hour)
	@$(PYTEST)

mutants: install ## small changes that break the service: do the tests notice each of them? (about two minutes)
	@$(BIN)/python -m tests.mutants

soak: install ## ten minutes of mixed streams, faults and disconnects: no lies, no leaks
	@$(BIN)/python -m tests.soak

bench: install ## what the service costs, against its goals (under five minutes)
	@$(BIN)/python -m bench

bench-cold: install ## what a start costs
	@$(BIN)/python -m bench.cold_start

screenshots: install ## docs/images, made anew by the tests
	@SCREENSHOTS=docs/images $(BIN)/pytest tests/test_page_appearance.py

lock: install ## compile the exact, hashed requirements from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes -q \
		--custom-compile-command "make lock" -o requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes -q \
		--custom-compile-command "make lock" -c requirements.txt -o requirements-dev.txt
	@$(BIN)/uv pip compile tests/agent_server/requirements.in --universal --python-version 3.11 --generate-hashes -q \
		--custom-compile-command "make lock" -o tests/agent_server/requirements.txt
