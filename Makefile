# Every target sets up what it needs: Python 3.10 or newer with venv is all that has to be there.
PYTHON ?= python3
VENV ?= .venv
# Tests wait more than they compute.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(16, 2 * (os.cpu_count() or 1)))')
READY := $(VENV)/.ready
BIN := $(VENV)/bin
# The tests start hundreds of processes, each of which would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check format lint types fast test coverage docs venv clean

demo: $(READY)
	$(BIN)/ast-edge demo -o demo

check: format lint types

format: $(READY)
	$(BIN)/ruff format --check .
	find ast_edge cpp_bridge examples tests -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.cu*' | xargs $(BIN)/clang-format --dry-run --Werror

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

# Everything but the tests marked slow. Every core has a worker: PyTorch needs no threads.
fast: export OMP_NUM_THREADS = 1
fast: $(READY)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow" --hypothesis-profile fast --durations=5 $(COVERAGE)

# `make fast`, measured, child processes too: fails below the floor in pyproject.toml.
coverage: COVERAGE = --cov --cov-report=term
coverage: fast

# pytest comes last, so that its own summary ends the output. A worker for each core: slow tests start many processes.
test: check
	$(BIN)/python -m pytest -n auto --dist loadgroup

# Into build/docs. A broken link or a page outside the navigation is an error.
docs: $(READY)
	$(BIN)/mkdocs build --strict

venv: $(READY)

# An incomplete environment (interrupted, or without pip) is made again; a complete one is only brought up to date.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on this machine: install Python 3.10 or newer, or name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: $$($(PYTHON) --version) is too old: ast-edge needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments with pip: install its venv package (Debian, Ubuntu: sudo apt install python3-venv) and run make again" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[cpu,train,line,docs,dev]"
	@touch $@

clean:
	rm -rf .venv build demo dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
