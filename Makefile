# `make` lists the targets. Environments are built on demand and again whenever pyproject.toml changes.

# The first interpreter that really runs (a shim may exist and fail), is new enough and can make an environment.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)

# What pip is asked for to get PyTorch, the reference of the parity tests. See CONTRIBUTING.md for a CPU-only build.
TORCH ?= torch==2.13.0

BIN := .venv/bin
ALL := .venv-all/bin

# Tests run on all cores; ARGS comes after it, so `make test ARGS="-n 0 -k conv"` runs in one process.
CORES := -n auto --maxprocesses 4

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help train test test-all goldens goldens-check surface bench lint format types layers docs clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

train: .venv/.stamp-train ## train a small language model on Python's own sources; ARGS are flags of `pullback train`
	$(BIN)/pullback train --resume --baselines --play $(ARGS)

test: .venv/.stamp-dev ## run the fast tests; needs neither PyTorch nor JAX
	$(BIN)/python -m pytest $(CORES) -m "not slow and not parity" $(ARGS)

test-all: lint types layers goldens-check .venv-all/.stamp ## run every check and every test, against PyTorch and JAX
	$(ALL)/python -m pytest $(CORES) $(ARGS)

goldens: .venv-all/.stamp ## write tests/goldens anew from PyTorch
	$(ALL)/python tests/goldens/make.py
	$(ALL)/python tests/programs/expected.py

goldens-check: .venv-all/.stamp ## check that tests/goldens are what PyTorch gives
	$(ALL)/python tests/goldens/make.py --check

surface: .venv/.stamp-dev ## report how much of PyTorch's API is covered
	$(BIN)/python tools/surface.py

bench: .venv-all/.stamp ## measure against PyTorch and JAX
	@status=0; for name in eager training_eager optim data capture xla compiled growth; do \
		echo "==> benchmarks/$$name.py"; $(ALL)/python benchmarks/$$name.py $(ARGS) || status=1; \
	done; exit $$status

lint: .venv/.stamp-dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.stamp-dev ## format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.stamp-dev ## check types
	$(BIN)/mypy

layers: .venv/.stamp-dev ## check that imports point downwards
	$(BIN)/lint-imports

docs: .venv/.stamp-dev ## write docs/ops.md anew from the op records
	$(BIN)/python -m pullback.ops.document

clean: ## remove environments, caches and builds
	rm -rf .venv .venv-all build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python .venv-all/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv was found. Name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "==> $(@D:/bin=): a new environment from $(PYTHON)"
	$(PYTHON) -m venv $(@D:/bin=)

.venv/.stamp-train: pyproject.toml | .venv/bin/python
	@echo "==> .venv: pullback, a tokenizer, its progress bar, and a C compiler where there is none"
	$(BIN)/python -m pip install -e ".[lm,train$$(command -v cc gcc clang >/dev/null 2>&1 || echo ,native)]"
	@touch $@

.venv/.stamp-dev: pyproject.toml | .venv/bin/python
	@echo "==> .venv: pullback and its development tools"
	$(BIN)/python -m pip install -e ".[dev]"
	@touch $@

.venv-all/.stamp: pyproject.toml | .venv-all/bin/python
	@echo "==> .venv-all: pullback, its development tools, PyTorch and JAX"
	$(ALL)/python -m pip install $(TORCH)
	$(ALL)/python -m pip install -e ".[dev,parity]"
	@touch $@
