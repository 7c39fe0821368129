#!/usr/bin/env bash
# Download the published weights, compare them with the lock, and bake them into a verified folder.
#   ./download_models.sh --precision int8|bf16|fp8|float32 [--to weights]
#   ./download_models.sh --lock        write the current revisions and hashes of the hub to the lock
# After an interruption, run it again: it keeps what was downloaded.
# Variables: HF_TOKEN, HF_ENDPOINT (another hub), SPACY_MODEL_URL (another address of spaCy's English model).
set -euo pipefail

usage() {
  cat <<'TEXT'
download_models.sh [options]
  --precision P              int8, bf16, fp8 or float32 (bf16)
  --to DIR                   baked folder to write (weights)
  --raw DIR                  folder for the published files, emptied at the end (DIR.published/PRECISION, with --to's DIR)
  --keep-raw                 keep the published files
  --preset NAME              include the LoRA of this preset: fast (and balanced), fusionx, lightx2v or none (repeatable; default: all)
  --merge NAME[:SCALE]       merge a preset's LoRA into the weights (repeatable)
  --model NAME               include the audio layers of this model: multitalk or infinitetalk (repeatable; default: both)
  --transformer-source FORM  published, int8, int8-fusionx or fp8 (default: by precision)
  --default-preset NAME      preset of jobs that set none
  --no-speech                exclude Kokoro's voices
  --layers DIR               move the baked folder's files into image layers
  --layer-gb N               largest weights file, and largest layer (5)
  --flag FILE                write this file when everything is done
  --attempts N               attempts per file when the connection is interrupted (5)
  --lock                     write the lock, and download nothing else
  --lock-file FILE           use another lock
TEXT
}

precision=bf16 target=weights raw='' keep_raw='' layers='' layer_gb=5 flag='' lock=''
# selection goes to both fetch and bake, so that files left in --raw by a run with other options are not baked
selection=() fetch_options=() bake_options=()
while (($#)); do
  case $1 in
    --precision) precision=$2; shift 2 ;;
    --to) target=$2; shift 2 ;;
    --raw) raw=$2; shift 2 ;;
    --keep-raw) keep_raw=1; shift ;;
    --preset | --model | --transformer-source) selection+=("$1" "$2"); shift 2 ;;
    --merge) bake_options+=(--lora "$2"); shift 2 ;;
    --default-preset) bake_options+=("$1" "$2"); shift 2 ;;
    --no-speech) selection+=("$1"); shift ;;
    --layers) layers=$2; shift 2 ;;
    --layer-gb) layer_gb=$2; shift 2 ;;
    --flag) flag=$2; shift 2 ;;
    --lock) lock=1; shift ;;
    --lock-file | --attempts) fetch_options+=("$1" "$2"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $1. Run download_models.sh --help." >&2; exit 2 ;;
  esac
done
selection+=(--precision "$precision")
target=${target%/}
raw=${raw:-$target.published/$precision}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
if [[ -z ${PYTHON:-} && -x $here/.venv/bin/python ]]; then
  python=$here/.venv/bin/python
fi

if [[ -r /run/secrets/HF_TOKEN ]]; then
  HF_TOKEN=$(</run/secrets/HF_TOKEN)
  export HF_TOKEN
fi
# huggingface_hub would use an empty value
for name in HF_TOKEN HF_ENDPOINT; do
  if [[ -z ${!name:-} ]]; then unset "$name"; fi
done
if [[ -n ${SPACY_MODEL_URL:-} ]]; then fetch_options+=(--spacy-model-url "$SPACY_MODEL_URL"); fi

# hf_transfer needs an older huggingface_hub in a separate environment (pyproject.toml, group fetch).
fetch_environment=${FETCH_ENVIRONMENT:-/opt/fetch}
if [[ ! -x $fetch_environment/bin/python ]]; then
  fetch_environment=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/multitalk/fetch
  if ! cmp --silent "$here/requirements-fetch.txt" "$fetch_environment/.ready"; then
    "$python" -m venv --clear "$fetch_environment"
    "$fetch_environment/bin/pip" install --quiet --no-deps --require-hashes -r "$here/requirements-fetch.txt"
    cp "$here/requirements-fetch.txt" "$fetch_environment/.ready"
  fi
fi
fetch() {
  HF_HUB_ENABLE_HF_TRANSFER=${HF_HUB_ENABLE_HF_TRANSFER:-1} \
    HF_XET_HIGH_PERFORMANCE=${HF_XET_HIGH_PERFORMANCE:-1} \
    "$fetch_environment/bin/python" -m multitalk.bake.fetch "${fetch_options[@]}" "$@"
}

if [[ -n $lock ]]; then
  fetch --lock
  exit
fi
if [[ -n $flag ]]; then rm -f "$flag"; fi
if [[ -n $layers ]]; then fetch_options+=(--layer-gb "$layer_gb"); fi
fetch --to "$raw" --bake-to "$target" "${selection[@]}"
"$python" -m multitalk.bake bake --from "$raw" --to "$target" --overwrite --check \
  --as-fetched --shard-gb "$layer_gb" "${selection[@]}" "${bake_options[@]}"
if [[ -n $layers ]]; then
  "$python" -m multitalk.bake.layers "$target" "$layers" "$layer_gb"
fi
# after everything that can fail, so that the next run does not download again
if [[ -z $keep_raw ]]; then
  # --raw may be a mount point, so only the default folder is removed itself
  find "$raw" -mindepth 1 -delete
  if [[ $raw == "$target.published/$precision" ]]; then
    rmdir "$raw" && rmdir --ignore-fail-on-non-empty "$target.published"
  fi
fi
# last: the flag means that the weights are complete
if [[ -n $flag ]]; then
  echo "${FLAG_CONTENT:-$target}" >"$flag"
fi
