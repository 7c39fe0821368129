#!/usr/bin/env bash
# Start of a container: find or download the weights, start reading them, and run the page or the worker (MODE).
set -euo pipefail
shopt -s inherit_errexit

flag=${INSTALLED_FLAG:-/opt/all_installed.flag}
app=${APP_FOLDER:-/app}
cd "$app"

download() {
  # to MULTITALK_WEIGHTS, else to a network volume, where the next worker finds them, else into the container
  local folder=${MULTITALK_WEIGHTS:-} volume
  for volume in /runpod-volume /workspace; do
    if [[ -z $folder && -d $volume && -w $volume ]]; then
      folder=$volume/multitalk/weights
    fi
  done
  folder=${folder:-/opt/multitalk/weights}
  folder=${folder%/}
  mkdir -p "$(dirname "$folder")"
  exec 9>"$folder.lock"
  flock 9 # another worker may be downloading, and have finished when this one gets the lock
  if ! MULTITALK_WEIGHTS=$folder python -m multitalk.start.locate >/dev/null; then
    local precision=${MULTITALK_PRECISION:-int8} model models=()
    for model in ${MULTITALK_MODELS:-}; do models+=(--model "$model"); done
    PYTHON=python ./download_models.sh --precision "$precision" "${models[@]}" \
      --raw "$folder.downloading/$precision" --to "$folder" >&2 || exit
  fi
  rm -rf "$folder.downloading"
  echo "$folder"
}

clean_up() {
  # remove what a worker left that was stopped after its bake, unless a worker still holds the lock
  if [[ -d $1.downloading && -w $1.downloading ]]; then
    (flock --nonblock 9 && rm -rf "$1.downloading") 9>"$1.lock" || true
  fi
}

set_flag() {
  echo "$1" 2>/dev/null >"$flag" || echo "warning: $flag cannot be written. The next start searches for the weights again." >&2
}

if [[ -f $flag ]]; then
  echo "Setup has already been completed"
  weights=${MULTITALK_WEIGHTS:-$(<"$flag")}
elif weights=$(python -m multitalk.start.locate); then
  echo "Weights found in $weights"
  clean_up "$weights"
  set_flag "$weights"
elif [[ -n ${MULTITALK_WEIGHTS:-} && -n $(ls -A "$MULTITALK_WEIGHTS" 2>/dev/null) ]]; then
  echo "error: MULTITALK_WEIGHTS: $MULTITALK_WEIGHTS is not a complete weights folder." \
    "Run python -m multitalk verify $MULTITALK_WEIGHTS for the reason." >&2
  exit 1
else
  echo "No weights in the image, on a network volume or in the model cache: downloading them"
  weights=$(download)
  set_flag "$weights"
fi
export MULTITALK_WEIGHTS=$weights

# espeak-ng and phonemizer load copies of a library from there; --tmpfs mounts it noexec by default
if grep -qE '^[^ ]+ /tmp [^ ]+ ([^ ]+,)?noexec' /proc/mounts; then
  echo "warning: /tmp is mounted noexec, so speech does not work. Mount it with --tmpfs /tmp:exec." >&2
fi

# Triton refuses a cache that it cannot write to when a kernel is not in it, as on a read-only file system: give it a
# copy; the compiled kernels stay where they are
if [[ -d ${TRITON_CACHE_DIR:-} && ! -w $TRITON_CACHE_DIR ]]; then
  cp -r "$TRITON_CACHE_DIR" "${TMPDIR:-/tmp}/triton"
  export TRITON_CACHE_DIR=${TMPDIR:-/tmp}/triton
fi

# prefetch the weights into the page cache while Python imports its modules
if [[ ${READ_AHEAD:-true} == true && -d $weights ]]; then
  python -m multitalk.weights.read_ahead "$weights" &
fi

# exec, so that Python gets the container's signals
exec python app.py "$@"
