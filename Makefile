# Everything runs in .venv, made from constraints.txt. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test lint bench soak clean ruff layers types

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

install: $(STAMP)  ## make .venv with everything at its pinned version

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)  ## from handwritten digits to generated ones; the last line is the report's path
	$(BIN)/rayograph run jobs/digits.py --on cluster/laptop/scale.yaml --store runs

test: $(STAMP) lint  ## everything but the long runs
	$(BIN)/python -m pytest -m 'not soak'

lint: $(STAMP)  ## layers, style and types
	@$(MAKE) --no-print-directory --jobs 2 --output-sync types layers ruff

ruff: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

layers: $(STAMP)
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)  ## every benchmark, or one: make bench NAME=bench_01_photos
	@shopt -s nullglob; for program in tests/benchmarks/$(or $(NAME),bench_*).py; do $(BIN)/python $$program || exit; done

soak: $(STAMP)  ## the long runs: the demo twice, kills in each stage, training and generation, nodes that come and go
	$(BIN)/python -m pytest -m soak --timeout 7200

clean:  ## remove what make and the demo made here
	rm -rf $(VENV) runs wandb
