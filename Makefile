# make reproduce | test | test-quick | lint | benchmark | benchmark-gpu     each sets up .venv first where it is missing
# CONFIG=config/tiny.yaml runs an overlay, CORES=1 limits the processors.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?=
CORES ?= all
BIN := .venv/bin
READY := .venv/.ready
LIMIT := $(if $(filter-out all,$(CORES)),OMP_NUM_THREADS=$(CORES))

.PHONY: reproduce test test-quick lint benchmark benchmark-gpu

reproduce: $(READY)
	@$(if $(CONFIG),$(BIN)/ssimbad config --config $(CONFIG) > /dev/null)
	@$(BIN)/snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))

# One process a core: each test computes on one.
PYTEST := OMP_NUM_THREADS=1 CORES=$(CORES) $(BIN)/python -m pytest -n $(if $(filter all,$(CORES)),logical,$(CORES))

test: $(READY)
	$(PYTEST)

test-quick: $(READY)
	$(PYTEST) -m "not workflow and not kill"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

benchmark: $(READY)
	@$(BIN)/snakemake --cores $(CORES) results/checkpoints/train/ssimbad.safetensors
	$(LIMIT) $(BIN)/python -m benchmarks.run

benchmark-gpu: $(READY)
	@$(BIN)/python -m benchmarks.gpu

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
