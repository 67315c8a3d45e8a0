# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up .venv first when there is none.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.PHONY: help setup demo test check bench clean
help:  ## what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: $(READY)  ## create .venv with everything that the demo and the tests need

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (a few minutes the first time: torch is large)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the whole method from nothing: problems, warm start, critic, CodeRL, table, report (ARGS=--quick for the short one)
	$(BIN)/coderl demo $(ARGS)

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(READY)  ## ruff and mypy
	$(BIN)/ruff check src tests bench runs
	$(BIN)/ruff format --check src tests bench runs
	$(BIN)/mypy

bench: $(READY)  ## measure speed; writes bench/RESULTS.md
	$(BIN)/python bench/run.py
	$(BIN)/python bench/training.py

clean:  ## remove the virtual environment and the demo's files
	rm -rf $(VENV) runs/demo runs/demo-quick
