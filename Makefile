# make run     the page on http://localhost:7860       make test    everything that CI runs
# make image   the image, with plain docker            make lock    the requirements files and the pins of the image

# Python 3.11 or 3.12; empty: the first that is found
PYTHON ?=
TORCH ?= torch==2.13.0
# where torch is downloaded from; if it is not set: PyTorch's index of CPU builds on Linux without an NVIDIA driver,
# else the default index
ifeq ($(origin TORCH_INDEX),undefined)
TORCH_INDEX = $(shell scripts/torch_index.sh $(BIN)/python)
endif
# Triton for another torch than that of requirements-dev.txt, for the tests of the GPU kernels
TRITON ?=
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# stamps, so that a target that is up to date costs nothing
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: setup run test test-fast test-image test-image-stack lint format bench demo-weights lock image push clean

setup: $(RUN_READY)

$(BIN)/python:
	python=$$(scripts/find_python.sh $(PYTHON)) && "$$python" -m venv $(VENV)

$(BIN)/uv: | $(BIN)/python
	$(BIN)/pip install --quiet uv==$(UV_VERSION)

# what a lock names and nothing else; the package itself as a link to this folder, for the command `multitalk`
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps

$(VENV)/.lock-ready: requirements.txt pyproject.toml | $(BIN)/uv
	$(INSTALL) --require-hashes --requirements requirements.txt
	$(INSTALL) --editable .
	touch $@

# after the rest, so that pip downloads nothing that the lock has
$(VENV)/.torch-ready: | $(VENV)/.lock-ready
	$(BIN)/pip install --quiet $(addprefix --index-url ,$(TORCH_INDEX)) "$(TORCH)"
	touch $@

$(RUN_READY): $(VENV)/.lock-ready $(VENV)/.torch-ready
	touch $@

# then the bytecode of everything: the processes of the tests would compile it at the same time, and wherever
# PYTHONDONTWRITEBYTECODE is set each of them would do it anew. Some packages contain files that do not compile.
$(DEV_READY): requirements-dev.txt $(RUN_READY)
	$(INSTALL) --require-hashes --requirements requirements-dev.txt
	$(if $(TRITON),$(INSTALL) $(TRITON))
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	touch $@

run: $(RUN_READY)
	$(BIN)/python app.py

# a worker a core, each with one thread: small models gain nothing from more
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(DEV_READY)
	$(PYTEST)

test-fast: $(DEV_READY)
	$(PYTEST) -m "not slow"

# builds, pushes, pulls and runs the image with small weights; needs root and the packages of .ci/run
test-image: $(DEV_READY)
	scripts/docker_engine.sh "$${XDG_CACHE_HOME:-$$HOME/.cache}/multitalk/docker-engine"
	$(BIN)/python -m pytest tests/image

# the suite on the image's own version of torch
test-image-stack:
	$(MAKE) VENV=.venv-image TORCH=torch==2.5.1 TRITON=triton==3.1.0 test

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile base.Dockerfile
	$(BIN)/shellcheck download_models.sh entrypoint.sh .ci/run scripts/*.sh

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_READY)
	$(BIN)/multitalk bench

demo-weights: $(DEV_READY)
	$(BIN)/python -m demo_training

# Versions stay as they are while pyproject.toml allows them; UPGRADE=--upgrade takes the newest that it allows,
# UPGRADE="--upgrade-package NAME" that of one package. torch, and what only torch needs, is left out: its build depends
# on the GPU.
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command "make lock" $(UPGRADE)
LOCK_APART_FROM_TORCH = $(LOCK) --python-version 3.11 --excludes $(VENV)/left-out
DEV_TOOLS := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")

lock: | $(BIN)/uv
	echo torch >$(VENV)/left-out
	$(LOCK_APART_FROM_TORCH) pyproject.toml --extra ui --extra worker --extra speech --output-file requirements.txt
	$(BIN)/python -c '$(DEV_TOOLS)' | $(LOCK_APART_FROM_TORCH) - --constraints requirements.txt --output-file requirements-dev.txt
	$(LOCK) --python-version 3.10 --group fetch --output-file requirements-fetch.txt
	$(BIN)/python scripts/lock_image.py

# base and app image on this machine; PRECISION=int8|bf16|fp8|slim STACK=cu124|cu128
image:
	scripts/image.sh build

# both to REGISTRY=ghcr.io/YOU
push:
	scripts/image.sh push

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
