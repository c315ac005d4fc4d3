# `make` lists the targets. A target that needs .venv sets it up if it is missing or out of date.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BUILT  := build/editable/.built
CORE   := CMakeLists.txt $(wildcard src/ann/*.cpp src/ann/*.hpp src/ann/bindings/*.cpp)
DATA ?=
RUN ?=
DEVICE ?= cuda
COMPETITION ?= toy_nuclei
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
FILES  ?= 100000
CMAKE_TESTS := $(BIN)/cmake -S . -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DMEDALIST_TESTS=ON
UNSPREAD := $(shell setarch -R true 2>/dev/null && echo setarch -R)
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help setup wheel demo test test-thorough test-slow test-gpu test-cpp fuzz lint types check docs bench train eda lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(BUILT) ## make .venv with everything at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "medalist needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) cmake nanobind ninja scikit-build-core
	$(PIP) --no-build-isolation -e '.[dev,notebooks]'
	@touch $@

# After an edit of the core the extension is built again. Only changed files are compiled.
$(BUILT): $(STAMP) $(CORE)
	$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

demo: $(BUILT) ## the main job on the toy contest: from drawing the data to a checked submission
	$(BIN)/medalist demo

test: $(BUILT) ## the test suite, with one process for each core and one thread in each process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(CORES) --dist loadfile

test-thorough: $(BUILT) ## the test suite with twelve times as many generated examples
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(CORES) --dist loadfile --hypothesis-profile=thorough

test-slow: $(BUILT) ## the tests that start and kill many processes: several processes on one fold, the queue, kill -9
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

test-gpu: ## what needs a GPU, tests and figures, in 6 minutes: no setup, no network; DEVICE=cpu tries it on the processor
	$(PYTHON) tests/gpu/run.py --device $(DEVICE)

# -w, because with the thread sanitizer gcc 12 gives false warnings about sizes: the sanitizer's own checks hide the
# sizes from the compiler. setarch -R, because the sanitizer does not start if addresses are spread too widely.
test-cpp: $(STAMP) ## the C++ tests of the core under ASan and UBSan, then under TSan
	$(CMAKE_TESTS) -B build/tests-address -DMEDALIST_SANITIZE=address,undefined -DMEDALIST_WERROR=ON
	$(BIN)/cmake --build build/tests-address
	build/tests-address/tests/ann/ann_tests
	test ! -e build/tests-address/tests/ann/ann_faults || build/tests-address/tests/ann/ann_faults # Linux has it alone
	build/tests-address/tests/ann/ann_mutate 2000
	$(CMAKE_TESTS) -B build/tests-thread -DMEDALIST_SANITIZE=thread -DCMAKE_CXX_FLAGS=-w
	$(BIN)/cmake --build build/tests-thread
	$(UNSPREAD) build/tests-thread/tests/ann/ann_tests

fuzz: $(BUILT) ## [FILES=100000] so many changed index files, logs and filters under ASan and UBSan; with clang, libFuzzer too
	$(CMAKE_TESTS) -B build/tests-address -DMEDALIST_SANITIZE=address,undefined -DMEDALIST_WERROR=ON
	$(BIN)/cmake --build build/tests-address
	build/tests-address/tests/ann/ann_mutate $(FILES)
	$(BIN)/python tests/search/fuzz_filter.py $(FILES)
	if command -v clang++ > /dev/null; then \
		$(CMAKE_TESTS) -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DMEDALIST_FUZZ=ON && \
		$(BIN)/cmake --build build/fuzz && \
		build/tests-address/tests/ann/ann_mutate --corpus build/fuzz/corpus && \
		for kind in open log filter payload ids change; do \
			program=ann_fuzz_$$kind; [ $$kind = open ] && program=ann_fuzz; \
			build/fuzz/tests/ann/$$program -runs=$(FILES) -artifact_prefix=build/fuzz/ -rss_limit_mb=2048 \
				-timeout=20 build/fuzz/corpus/$$kind || exit 1; \
		done; \
	fi

lint: $(STAMP) ## style and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## mypy --strict, for Linux and for what Windows and macOS do not have
	$(BIN)/mypy src competitions
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src competitions
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src competitions
	$(BIN)/mypy docs/generate.py

check: lint types test test-slow demo ## everything that CI runs

wheel: $(STAMP) ## dist/medalist-*.whl, which installs without a compiler
	$(BIN)/python -m pip --disable-pip-version-check wheel -q . --no-deps --no-build-isolation -w dist

docs: $(STAMP) ## write docs/config.md from the settings
	$(BIN)/python docs/generate.py

bench: $(BUILT) ## DATA=DIR of the nuclei contest: run every benchmark, on a machine without other work
	@test -n "$(DATA)" || { echo "make bench DATA=DIR: the folder of the nuclei contest"; exit 2; }
	for script in benchmarks/*.py; do case $$script in \
		*/loader.py|*/step.py|*/nuclei_metric.py|*/rle.py) $(BIN)/python $$script --data $(DATA) ;; \
		*) $(BIN)/python $$script ;; esac || exit 1; done

train: $(BUILT) ## CONFIG=configs/... [DATA=DIR] [ARGS="--fold 0 train.lr=3e-4"]
	$(BIN)/medalist train $(CONFIG) $(if $(DATA),--data $(DATA)) $(ARGS)

eda: $(BUILT) ## COMPETITION=name [DATA=DIR] [RUN=name]: the notebook as a page under runs/
	MEDALIST_EDA_COMPETITION=$(COMPETITION) MEDALIST_EDA_DATA=$(abspath $(DATA)) MEDALIST_EDA_RUN=$(RUN) \
	MEDALIST_RUNS=$(abspath runs) $(if $(MEDALIST_DATA),MEDALIST_DATA=$(abspath $(MEDALIST_DATA))) \
	$(BIN)/jupyter nbconvert --execute --to html --HTMLExporter.require_js_url= --HTMLExporter.mathjax_url= \
		--output-dir runs/$(COMPETITION) --output eda.html notebooks/eda.ipynb

lock: ## write constraints.txt from the packages in .venv: names and versions only, no paths of this machine
	@test -x $(BIN)/python || { echo "make lock needs $(VENV); make setup first"; exit 2; }
	$(BIN)/python -m pip --disable-pip-version-check list --format=freeze --exclude-editable \
		$(addprefix --exclude ,medalist pip setuptools wheel) > $(VENV)/constraints.txt
	LC_ALL=C sort -f $(VENV)/constraints.txt -o $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt
	@test ! -e $(STAMP) || touch $(STAMP)

clean: ## remove all files that make wrote, but keep the runs
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
