#!/usr/bin/env bash
# Print PyTorch's index of CPU builds where they are the right ones; print nothing where the default index is.
# On Linux the default build of torch contains CUDA, which is 3 GB to download that a machine without a GPU does not use.
#   scripts/torch_index.sh PYTHON
set -euo pipefail
index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}

if [[ $(uname -s) != Linux || ${CI:-} == true || -e /proc/driver/nvidia/version ]] || command -v nvidia-smi >/dev/null; then
  exit
fi
ask='import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method="HEAD"), timeout=10)'
if "$1" -c "$ask" "$index/torch/" &>/dev/null; then
  echo "$index"
else
  echo "note: $index cannot be reached: torch comes from the default index, which may mean the CUDA build (3 GB)." >&2
fi
