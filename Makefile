
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?=
CORES ?= all
BIN := .venv/bin
READY := .venv/.ready
# As one word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'
LIMIT := $(if $(filter-out all,$(CORES)),OMP_NUM_THREADS=$(CORES))

define HELP
make reproduce       everything into results/; CONFIG=config/tiny.yaml runs another config
make test            the tests
make test-quick      those without a whole workflow and without kills
make pull            what DVC tracks, taken over by Snakemake
make lint            style, types, imports, rules
make benchmark       hot paths against plain code, on processors
make benchmark-gpu   the phases on a GPU
Each sets up .venv first where it is missing. CORES=1 limits the processors.
endef
export HELP

.PHONY: help reproduce test test-quick pull lint benchmark benchmark-gpu

help:
	@echo "$$HELP"

reproduce: $(READY)
	@$(if $(CONFIG),$(BIN)/ssimbad config --config $(call quoted,$(CONFIG)) > /dev/null)
	@$(BIN)/snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(call quoted,$(CONFIG)))

# One process a core: each test computes on one.
PYTEST := OMP_NUM_THREADS=1 CORES=$(CORES) $(BIN)/python -m pytest -n $(if $(filter all,$(CORES)),logical,$(CORES))

test: $(READY)
	$(PYTEST)

test-quick: $(READY)
	$(PYTEST) -m "not workflow and not kill"

pull: $(READY)
	$(BIN)/dvc pull
	$(BIN)/ssimbad adopt

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/common.smk workflow/rules
	$(BIN)/snakemake --lint

benchmark: $(READY)
	@$(BIN)/snakemake --cores $(CORES) results/checkpoints/train/ssimbad.safetensors
	$(LIMIT) $(BIN)/python -m benchmarks.run

benchmark-gpu: $(READY)
	@$(BIN)/python -m benchmarks.gpu

# Python is asked for its version before anything is installed; what an earlier try left goes.
$(READY): requirements.lock pyproject.toml
	@$(if $(PYTHON),,echo "make: no python3.11 found: install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "make: $(PYTHON) is not Python 3.11: name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(if $(wildcard $(READY)),,--clear) .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
