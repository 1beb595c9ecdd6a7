# Every target is a gate of .ci/run, or what a gate needs; `make check` is all of them.
# PYTHON is the interpreter that the virtual environment is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup check backends format format-check lint types pyright mypy imports test test-frameworks torture docs site wheel bench bench-page constraints reference clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## virtual environment with everything that development needs
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'

check: ## every gate, as in continuous integration
	.ci/run

format: ## rewrite the code in the one format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

format-check: ## is it in the one format?
	$(BIN)/ruff format --check

lint: ## ruff, all rules but the reasoned exceptions
	$(BIN)/ruff check

types: pyright mypy ## both type checkers

pyright: ## strict
	$(BIN)/pyright --pythonpath $(BIN)/python --warnings

mypy: ## strict
	$(BIN)/mypy

imports: ## the contracts of the layers
	$(BIN)/lint-imports

backends: ## the Collector and the Prometheus of the tests, into the cache folder
	.ci/backends

test: ## all tests, with branch coverage
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term

test-frameworks: ## the integrations with the real frameworks: minutes, and 6 GB in the cache folder
	PYTHON=$(PYTHON) tools/test-frameworks

torture: ## 1,000 kills, 64 runs of one name, a day of samples; minutes
	$(BIN)/python -m tests.torture

docs: ## the code blocks of README and docs
	$(BIN)/python -m pytest -n 2 tests/docs

site: ## the documentation as a site, under build/site: warnings, broken links and anchors are errors
	$(BIN)/sphinx-build -q -W --keep-going -E -b html -d build/doctrees docs build/site
	$(BIN)/python tools/check_site.py build/site

wheel: ## build, install in a clean environment, run from another folder
	tools/try-wheel $(BIN)/python

bench: ## what the specification promises, measured beside the alternatives
	$(BIN)/python -m benchmarks

bench-page: ## measures beside the other trackers too, in an environment of its own, and writes the pages; a quarter of an hour
	$(PYTHON) -m venv build/bench
	build/bench/bin/pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo]' -r benchmarks/requirements.txt
	build/bench/bin/python -m benchmarks --format json > build/measured.json
	cp build/measured.json benchmarks/measured.json
	$(MAKE) --no-print-directory reference

reference: ## the pages of docs/reference and docs/schema that follow from the code
	$(BIN)/python tools/reference.py

constraints: ## the newest versions that fit, as constraints.txt
	$(PYTHON) tools/constraints.py

clean: ## what was built and cached, not the runs under output/
	rm -rf build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
