# make reproduce | test | lint | benchmark     each sets up .venv first where it is missing
# CONFIG=config/tiny.yaml runs an overlay, CORES=1 limits the processors.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?=
CORES ?= all
BIN := .venv/bin
READY := .venv/.ready
LIMIT := $(if $(filter-out all,$(CORES)),OMP_NUM_THREADS=$(CORES))

.PHONY: reproduce test lint benchmark

# The kernel drops this lock with the process that holds it, so nothing stale is left by a kill, as
# Snakemake's own lock would be.
LOCK = .venv/running$(subst /,-,$(CONFIG))

reproduce: $(READY)
	@flock --nonblock --conflict-exit-code 75 $(LOCK) $(BIN)/snakemake --nolock --cores $(CORES) \
	    $(if $(CONFIG),--configfile $(CONFIG)) \
	    || { [ $$? -ne 75 ] || echo "make: this run is already in progress" >&2; exit 1; }

test: $(READY)
	$(LIMIT) CORES=$(CORES) $(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

benchmark: $(READY)
	$(LIMIT) $(BIN)/python -m benchmarks.run

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
