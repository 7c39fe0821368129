#!/usr/bin/env bash
# Download the wheels that benchmarks.gpu and benchmarks.gpu_correctness need on a GPU machine without a network, in the
# versions of requirements.txt, into folder $1 for Python $2 (3.12 by default). PyAV is left out: they write no videos.
# The machine itself must have torch, Triton, transformers, NumPy, SciPy, Pillow and safetensors. There:
#   python3 -m pip install --no-index --no-deps --target SITE FOLDER/*.whl
#   PYTHONPATH=SITE python3 -m benchmarks.gpu_correctness
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?usage: scripts/gpu_wheels.sh FOLDER [PYTHON_VERSION]}
python_version=${2:-3.12}
packages=(annotated-types cffi diffusers ftfy pycparser pydantic pydantic-core
  pyloudnorm soundfile soxr tokenizers typing-inspection wcwidth)

pins=()
for package in "${packages[@]}"; do
  pin=$(grep -oE "^$package==[^ ;\\]+" requirements.txt) || {
    echo "error: requirements.txt does not pin $package." >&2
    exit 1
  }
  pins+=("$pin")
done
platforms=()
for glibc in 2_28 2_27 2_26 2_24 2_17; do
  platforms+=(--platform "manylinux_${glibc}_x86_64")
done
.venv/bin/pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$python_version" \
  "${platforms[@]}" --platform manylinux2014_x86_64 --dest "$target" "${pins[@]}"
du -sh "$target"
