# `make run` and `make test` need Python 3.11 or later and make; everything else goes into .venv.

# The newest that starts. Of pyenv's versions only the chosen ones start by name; here all may.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell export PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | tr '\n' ':')"; \
	for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { $$p -c 'import sys; print(sys.executable)'; break; }; done)
endif
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported, once; pip would compile everything, in a minute of its own.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
STORE ?= results
ONLY ?=
# How lines are counted: from Python 3.12 on by sys.monitoring, before that by a trace function.
CORE := import sys; print("ctrace" if sys.version_info < (3, 12) else "sysmon")
FLOORS := disac:96 pipeline:95 flows:85

.PHONY: run studies test gate test-all bench lint clean
.DELETE_ON_ERROR:

run: $(VENV)/.run
	$(BIN)/disac run joint-small --store $(STORE)

# Every study of data/studies, one after the other; a study that ends badly does not keep the others from running.
studies: $(VENV)/.run
	@bad=; for study in data/studies/*.yaml; do $(BIN)/disac run "$$study" --store $(STORE) || bad="$$bad $$study"; done; \
	test -z "$$bad" || { echo "ended badly:$$bad"; exit 1; }

# The checks of the text run beside the tests.
MAKEFLAGS += --jobs=2
test: lint gate

# Three workers for two cores, since some tests wait; one BLAS thread each; a worker without work takes half of what the other has left. The shares of lines
# are of these processes: what runs in a process that a test starts does not count. No share may fall below its floor.
gate: export OMP_NUM_THREADS = 1
gate: export OPENBLAS_NUM_THREADS = 1
gate: $(VENV)/.dev
	COVERAGE_CORE=$$($(BIN)/python -c '$(CORE)') $(BIN)/python -m pytest -m "not slow" --hypothesis-profile=gate -n 3 --dist worksteal --cov --cov-report=
	@bad=; for floor in $(FLOORS); do package=$${floor%:*}; printf '%s: lines run by the tests, %%: ' $$package; \
	$(BIN)/coverage report --include="$$package/*" --format=total --fail-under=$${floor#*:} || bad="$$bad $$floor"; done; \
	test -z "$$bad" || { echo "below the floor:$$bad"; exit 1; }

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
	rm -rf $(VENV) .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

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
