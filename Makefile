# `make demo` and `make test` do all of their own set-up: a virtual environment in .venv, made on first use,
# reused afterwards, and brought up to date when pyproject.toml has changed. Nothing else is needed than Python,
# make and a network that reaches a package index; no environment has to be active, and none is changed.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs

# TensorFlow has packages for these; other interpreters are passed over.
FIND_PYTHON := for p in "$(PYTHON)" python3.13 python3.12 python3.11; do \
	if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	then echo "$$p"; exit; fi; done

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format docs bench bench-scale bench-simulate bench-truth bench-memory bench-parts clean clean-all

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## fit 73,421 lecture ratings from one line, compare with lme4, draw the plots
	$(VENV)/bin/lmeformula demo

test: $(READY) ## run the tests, but for the slow ones
	$(RUN) tests/run.py $(ARGS)

test-all: $(READY) ## run all tests
	$(RUN) tests/run.py --slow $(ARGS)

lint: $(READY) ## check style, formatting and types
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

format: $(READY) ## rewrite the code in the project's format
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

docs: $(DOCS) ## build the documentation site, into build/site; warnings are errors
	PYTHONPATH=docs $(VENV)/bin/zensical build --clean --strict

bench: $(READY) ## compare with other packages, into benchmarks/RESULTS.md (ARGS="--slow", PEERS_PYTHON=...)
	$(RUN) benchmarks/compare.py $(ARGS)

bench-scale: $(READY) ## time and memory of fits with up to a hundred million rows (ARGS="--rows 1e5")
	$(RUN) benchmarks/scale.py $(ARGS)

bench-simulate: $(READY) ## bias and coverage of every family over simulated data (ARGS="--methods mcem")
	$(RUN) benchmarks/simulate.py --write benchmarks/SIMULATION.md $(ARGS)

bench-truth: $(READY) ## random models on random data, held to properties (ARGS="--cases gaussian=20000")
	$(RUN) benchmarks/campaign.py $(ARGS)

bench-memory: $(READY) ## memory over fits of 200 shapes of data, which has to stay (ARGS="--shapes 80")
	$(RUN) benchmarks/memory.py $(ARGS)

bench-parts: $(READY) ## timings of the own parts: imports, parsing, designs, sampler layouts, certificates, small fits
	for part in import_time first_fit parsing design_speed gather_designs certificate_cost small_fits; do \
		echo "== $$part"; $(RUN) benchmarks/$$part.py || exit 1; done

clean: ## remove what builds, tests and the demo leave behind
	rm -rf build dist demo-output .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-all: clean ## remove the virtual environment too
	rm -rf $(VENV)

# The stamp is written last, so that an interrupted installation is taken up again. It holds the folder that the
# environment was made for: one that was moved, or whose interpreter is gone, is not ready either.
ifneq ($(shell $(RUN) -c 'print(open("$(READY)").read().strip())' 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(READY): pyproject.toml
	@if ! $(RUN) -c '' 2>/dev/null; then \
		python=$$($(FIND_PYTHON)); \
		if [ -z "$$python" ]; then \
			echo "lmeformula needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is none of them." >&2; \
			echo "Say which to use: make PYTHON=/path/to/python3.12 ..." >&2; \
			exit 1; \
		fi; \
		echo "$$python -m venv $(VENV)"; \
		"$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	$(RUN) -m pip install --disable-pip-version-check --progress-bar off --quiet --editable '.[all,dev]'
	@echo '$(CURDIR)' > $(READY)

$(DOCS): $(READY)
	$(RUN) -m pip install --disable-pip-version-check --progress-bar off --quiet --editable '.[docs]'
	@touch $(DOCS)
