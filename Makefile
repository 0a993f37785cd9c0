# make reproduce | test | lint | benchmark     each sets up .venv first where it is missing
# CONFIG=config/tiny.yaml runs an overlay, CORES=1 limits the processors.

PYTHON ?= python3
CONFIG ?=
CORES ?= all
BIN := .venv/bin
READY := .venv/.ready

.PHONY: reproduce test lint benchmark

reproduce: $(READY)
	$(BIN)/snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

benchmark: $(READY)
	$(BIN)/python -m benchmarks.run

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
