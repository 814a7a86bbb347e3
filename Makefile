# `make run` and `make test` need Python 3.11 or later and make; everything else goes into .venv.

# The first that starts and is new enough: version managers leave commands of that name which start nothing.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { command -v $$p; break; }; done)
endif
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STORE ?= results
ONLY ?=

.PHONY: run studies test test-all bench lint clean
.DELETE_ON_ERROR:

run: $(VENV)/.run
	$(BIN)/disac run quick --store $(STORE)

# Every study of data/studies, one after the other; a study that ends badly does not keep the others from running.
studies: $(VENV)/.run
	@bad=; for study in data/studies/*.yaml; do $(BIN)/disac run "$$study" --store $(STORE) || bad="$$bad $$study"; done; \
	test -z "$$bad" || { echo "ended badly:$$bad"; exit 1; }

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.dev lint
	$(BIN)/python -m pytest

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ONLY)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "disac needs Python 3.11 or later: none found; name one with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "disac needs Python 3.11 or later: $(PYTHON) is older or does not start"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "Installing into $(VENV) (a minute or two, once)"
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
