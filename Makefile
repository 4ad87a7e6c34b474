# make demo    the checkpoint that the package carries, past its trained length: unpatched and patched, in a minute
# make demo-real   the same with SmolLM2-135M: a download of 93 MB and minutes
# make test    lint, types, tests and one test on a real checkpoint: all that CI runs
# make check   format, lint and types only
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo demo-real test check mypy pyright install clean

demo: $(INSTALLED)
	$(BIN)/rope-scaling demo

demo-real: $(INSTALLED)
	$(BIN)/rope-scaling demo --real

test: check
	$(BIN)/pytest -n auto --dist worksteal
	$(BIN)/pytest -m slow tests/eval/test_smollm2.py

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --no-print-directory -j2 mypy pyright

mypy: $(INSTALLED)
	$(BIN)/mypy

pyright: $(INSTALLED)
	$(BIN)/pyright --pythonpath $(BIN)/python

install: $(INSTALLED)

# pip reads dependency groups from 25.1 on
$(INSTALLED): pyproject.toml constraints/cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints/cpu.txt --editable ".[all]" --group dev
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
