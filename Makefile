# make run    a page on http://localhost:7860        make test   everything CI runs
# On a machine without a GPU outside Linux's default CUDA builds, point pip at PyTorch's CPU wheels:
#   make setup TORCH_INDEX=<index URL from PyTorch's "Start locally" page>

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
# stamps, so that a target that is up to date costs nothing
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: setup run test test-fast test-image test-image-stack lint format bench demo-weights clean

setup: $(RUN_READY)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch-ready: | $(BIN)/python
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	touch $@

$(RUN_READY): requirements.txt requirements-runpod.txt $(VENV)/.torch-ready
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -r requirements-runpod.txt
	touch $@

$(DEV_READY): requirements-dev.txt $(RUN_READY)
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

run: $(RUN_READY)
	$(BIN)/python app.py

# a worker a core, each with one thread: small models gain nothing from more
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(DEV_READY)
	$(PYTEST)

test-fast: $(DEV_READY)
	$(PYTEST) -m "not slow"

# builds the image from small weights and runs it; needs root, buildah and debootstrap
test-image: $(DEV_READY)
	$(BIN)/python -m pytest tests/image

# the suite on the image's own versions: torch 2.5.1 (of the package index: the CUDA build, which runs without a GPU)
test-image-stack:
	$(MAKE) VENV=.venv-image TORCH=torch==2.5.1 test

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile base.Dockerfile
	$(BIN)/shellcheck download_models.sh entrypoint.sh .ci/run

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_READY)
	$(BIN)/python -m benchmarks.stages

demo-weights: $(DEV_READY)
	$(BIN)/python -m demo_training

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
