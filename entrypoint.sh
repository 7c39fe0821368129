#!/usr/bin/env bash
# A container's start: weights there? Begin to read them, and become the page or the worker (MODE).
set -euo pipefail
shopt -s inherit_errexit

flag=${INSTALLED_FLAG:-/opt/all_installed.flag}
app=${APP_FOLDER:-/app}
cd "$app"

download() {
  # where MULTITALK_WEIGHTS says, or onto the volume where there is one, so that the next worker finds them
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
  flock 9 # another worker may be at it, and be done when this one gets here
  if ! MULTITALK_WEIGHTS=$folder python -m multitalk.start.locate >/dev/null; then
    local precision=${MULTITALK_PRECISION:-int8}
    PYTHON=python ./download_models.sh --precision "$precision" \
      --raw "$folder.downloading/$precision" --to "$folder" >&2 || exit
  fi
  rm -rf "$folder.downloading"
  echo "$folder"
}

clean_up() {
  # of a worker that was stopped between its bake and its cleaning up; the lock says whether one is still at it
  if [[ -d $1.downloading && -w $1.downloading ]]; then
    (flock --nonblock 9 && rm -rf "$1.downloading") 9>"$1.lock" || true
  fi
}

set_flag() {
  echo "$1" 2>/dev/null >"$flag" || echo "warning: $flag can't be written, so the next start looks again" >&2
}

if [[ -f $flag ]]; then
  echo "Setup has already been completed"
  weights=${MULTITALK_WEIGHTS:-$(<"$flag")}
elif weights=$(python -m multitalk.start.locate); then
  echo "Weights found in $weights"
  clean_up "$weights"
  set_flag "$weights"
elif [[ -n ${MULTITALK_WEIGHTS:-} && -n $(ls -A "$MULTITALK_WEIGHTS" 2>/dev/null) ]]; then
  echo "error: $MULTITALK_WEIGHTS holds no complete weights: python -m multitalk verify $MULTITALK_WEIGHTS says why." >&2
  exit 1
else
  echo "No weights are in the image, on a volume or in the model cache: downloading them"
  weights=$(download)
  set_flag "$weights"
fi
export MULTITALK_WEIGHTS=$weights

# Read-ahead: the disk works while Python still imports. The program finds what is read in the page cache.
if [[ ${READ_AHEAD:-true} == true && -d $weights ]]; then
  python -m multitalk.weights.read_ahead "$weights" &
fi

# exec: signals reach Python
exec python app.py "$@"
