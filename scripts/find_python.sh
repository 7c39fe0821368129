#!/usr/bin/env bash
# Print the Python for the environment: $1 where it is given, else the first of version 3.11 or 3.12 that is found.
set -euo pipefail

suitable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' &>/dev/null
}

if [[ -n ${1:-} ]]; then
  suitable "$1" || {
    echo "error: PYTHON is not Python 3.11 or 3.12 with venv ($1). Set it to one that is, or leave it out." >&2
    exit 2
  }
  echo "$1"
  exit
fi
for python in python3.11 python3.12 python3 python; do
  if suitable "$python"; then
    echo "$python"
    exit
  fi
done
echo "error: Python 3.11 or 3.12 with venv was not found. Install it (Debian and Ubuntu: apt install python3 python3-venv;" \
  "macOS: brew install python@3.12), or set PYTHON to its path." >&2
exit 2
