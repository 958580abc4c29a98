# `make demo` and `make test` do all the set-up themselves: Python 3.10 or newer with venv is all they need.
PYTHON ?= python3
READY := .venv/.ready

.PHONY: demo test venv clean

demo: $(READY)
	.venv/bin/ast-edge demo -o demo

# pytest comes last, so that its own summary ends the output.
test: $(READY)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest

venv: $(READY)

# A half-made environment (interrupted, or without pip) is made anew; a whole one is only brought up to date.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on this machine: install Python 3.10 or newer, or name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: $$($(PYTHON) --version) is too old: ast-edge needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments with pip: install its venv package (Debian, Ubuntu: sudo apt install python3-venv) and run make again" >&2; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[cpu,train,line,dev]"
	@touch $@

clean:
	rm -rf .venv demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
