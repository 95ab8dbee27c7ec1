# Everything runs in .venv; PYTHON is used once, to create it.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-all check format clean

demo: .venv/installed
	$(BIN)/python examples/demo.py

test: .venv/installed-dev
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

test-all: .venv/installed-dev
	$(BIN)/python -m pytest -q -n $(WORKERS)

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "quick and not slow"

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A stamp is as new as the last install of what setup.cfg asks for.
.venv/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
