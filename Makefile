# `make` lists what there is. Every target sets up .venv where that is missing or out of date.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DATA ?=
RUN ?=
COMPETITION ?= toy_nuclei
CORES ?= $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types check bench train eda lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv with everything at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "medalist needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,notebooks]'
	@touch $@

demo: $(STAMP) ## the main job on the embedded contest: data to checked submission
	$(BIN)/medalist demo

test: $(STAMP) ## the test suite, a process a core, one thread in each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(CORES)

lint: $(STAMP) ## style and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy src competitions

check: lint types test demo ## what CI runs

bench: $(STAMP) ## DATA=DIR of the nuclei contest: every benchmark; wants a quiet machine
	@test -n "$(DATA)" || { echo "make bench DATA=DIR: the folder of the nuclei contest"; exit 2; }
	for script in benchmarks/*.py; do $(BIN)/python $$script --data $(DATA) || exit 1; done

train: $(STAMP) ## CONFIG=configs/... [DATA=DIR] [ARGS="--fold 0 train.lr=3e-4"]
	$(BIN)/medalist train $(CONFIG) $(if $(DATA),--data $(DATA)) $(ARGS)

eda: $(STAMP) ## COMPETITION=name [DATA=DIR] [RUN=name]: the notebook as a page under runs/
	MEDALIST_EDA_COMPETITION=$(COMPETITION) MEDALIST_EDA_DATA=$(abspath $(DATA)) MEDALIST_EDA_RUN=$(RUN) \
	MEDALIST_RUNS=$(abspath runs) $(if $(MEDALIST_DATA),MEDALIST_DATA=$(abspath $(MEDALIST_DATA))) \
	$(BIN)/jupyter nbconvert --execute --to html --HTMLExporter.require_js_url= --HTMLExporter.mathjax_url= \
		--output-dir runs/$(COMPETITION) --output eda.html notebooks/eda.ipynb

lock: ## write constraints.txt from what .venv holds
	$(BIN)/python -m pip freeze --exclude-editable --exclude medalist > constraints.txt

clean: ## remove what make made, but no runs
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
