# One command each: `make` lists them. The virtual environment is made by whichever comes first, in .venv, and is repaired
# when it was left half made, when the clone has moved, and when the pinned requirements have changed. `make train` fills
# it with requirements/train.txt alone; the first other target adds the rest of requirements/dev.txt.
#   ARGS="..."    goes to the program behind the target:  make train ARGS="--recipe digits"   make test ARGS="-k tape"
#   PYTHON=...    the Python (3.11 or newer) that .venv is made from, the first time

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

ARGS ?=
VENV := .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
EXE := .exe
else
PYTHON ?= python3
BIN := $(VENV)/bin
EXE :=
endif
PY := $(BIN)/python$(EXE)
# Two stamps in the one environment: what training needs is installed; everything is.
TRAIN := $(VENV)/.train
READY := $(VENV)/.ready

# uv is taken from the PATH, else brought into .venv by pip.
UV = VIRTUAL_ENV=$(VENV) $$(command -v uv || echo $(BIN)/uv$(EXE))
TRAIN_EXTRAS := plot images download threads progress safetensors onnx serve graph jit mpi
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make requirements" $(UV) pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links

# A stamp holds the path of the clone that it was made in. If that is not this one, or its Python no longer starts, both go.
ifneq ($(wildcard $(TRAIN)),)
$(shell { test "$$(cat $(TRAIN))" = "$$(pwd)" && $(PY) -c ""; } >/dev/null 2>&1 || rm -f $(TRAIN) $(READY))
endif

# One thread in each test process: several processes share the cores, and BLAS threads that wait for each other cost more.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1
# What tests compile is kept here, and not among the user's files.
CACHE := TINYGRAD_MNIST_CACHE="$(CURDIR)/$(VENV)/compiled"
# So is Python's bytecode, also where the environment says to write none: without it every worker of the tests compiles all
# of them again, 14 s each, and every process that a test starts the package.
BYTECODE := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="$(CURDIR)/$(VENV)/bytecode"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: train
train: $(TRAIN) ## train a digit recogniser (ARGS="--recipe digits", "--help", ...)
	@$(BIN)/tinygrad-mnist$(EXE) train $(ARGS)

.PHONY: test
test: $(READY) ## run the tests and the doctests, without the slow ones, on all cores (ARGS="-k tape")
	@$(ONE_THREAD) $(CACHE) $(BYTECODE) $(PY) -m pytest -n auto -m "not slow" $(ARGS)

.PHONY: test-all
test-all: $(READY) ## run all of them, as CI does
	@$(ONE_THREAD) $(CACHE) $(BYTECODE) $(PY) -m pytest -n auto $(ARGS)

.PHONY: lint
lint: $(READY) ## ruff's rules over everything
	@$(PY) -m ruff check $(ARGS) .

.PHONY: types
types: $(READY) ## mypy, strict, over the package
	@$(PY) -m mypy $(ARGS)

.PHONY: docs
docs: $(READY) ## build docs/_build/html; a warning is an error
	@$(PY) -m sphinx --fail-on-warning --keep-going --quiet -b html $(ARGS) docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: browser
browser: $(READY) ## install what the tests in a browser need; without it they are skipped
	@$(UV) pip install --quiet --python $(PY) --require-hashes -r requirements/browser.txt
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || \
		$(BIN)/playwright$(EXE) install chromium

# Without the peers it runs too, and says who does not take part. PyTorch is not among them: see benchmarks/peers/.
.PHONY: bench
bench: $(READY) ## run the benchmarks beside the peers, write their page (ARGS="training_step --rounds 10")
	@$(UV) pip install --quiet --python $(PY) --require-hashes -r requirements/bench.txt || \
		echo "make: the peers of requirements/bench.txt could not be installed; going on without them" >&2
	@$(PY) -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: $(READY) ## compare the training step with what was stored; fails if it became slower
	@$(PY) -m benchmarks --quick

.PHONY: requirements
requirements: $(READY) ## compile pyproject.toml to requirements/*.txt (ARGS="--upgrade")
	@$(COMPILE) --fork-strategy fewest --group dev --all-extras $(ARGS) pyproject.toml --output-file requirements/dev.txt
	@$(COMPILE) --fork-strategy fewest --group build $(addprefix --extra ,$(TRAIN_EXTRAS)) --constraint requirements/dev.txt \
		$(ARGS) pyproject.toml --output-file requirements/train.txt
	@$(COMPILE) --group pyproject.toml:browser $(ARGS) --output-file requirements/browser.txt
	@$(COMPILE) --fork-strategy fewest --group pyproject.toml:bench --constraint requirements/dev.txt $(ARGS) --output-file requirements/bench.txt
	@$(COMPILE) --group pyproject.toml:uv $(ARGS) --output-file requirements/uv.txt

.PHONY: clean
clean: ## remove .venv, the built docs and the caches; runs/ stays
	rm -rf $(VENV) docs/_build docs/generated dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both stamps go first and come back last, so that an interruption anywhere between leaves none, and the next call starts
# afresh. Where they were only out of date, what is installed is brought into line instead.
$(TRAIN): pyproject.toml requirements/train.txt requirements/uv.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || \
		{ echo "make: no '$(PYTHON)' here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1), but Python 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@if test -e $@; then rm -f $(TRAIN) $(READY); else \
		echo "setting up $(VENV)"; \
		$(PYTHON) -m venv --clear $(VENV) || \
		{ echo "make: '$(PYTHON) -m venv' failed, as said above; on Debian and Ubuntu venv comes with the package python3-venv" >&2; exit 1; }; fi
	@command -v uv >/dev/null 2>&1 || \
		$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(UV) pip install --quiet --python $(PY) --require-hashes -r requirements/train.txt
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	@pwd > $(TRAIN)

# What training needs is a part of it, in the same versions: `make train` installs that and removes nothing.
$(READY): $(TRAIN) requirements/dev.txt
	@rm -f $(TRAIN) $(READY)
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	@pwd > $(TRAIN)
	@pwd > $(READY)
