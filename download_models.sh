#!/usr/bin/env bash
# Published weights in, a baked folder out: fetch what is used, compare it with the lock, convert, verify.
#   ./download_models.sh --precision int8|bf16|fp8|float32 [--to weights]
#   ./download_models.sh --lock        pin revisions and hashes to what the hub has now
# Run again after a stop, it goes on with the files that are there. HF_TOKEN, HF_ENDPOINT and SPACY_MODEL_URL are honoured.
set -euo pipefail

usage() {
  cat <<'TEXT'
download_models.sh [options]
  --precision P              int8, bf16 (the default), fp8 or float32
  --to DIR                   baked folder to write (weights)
  --raw DIR                  published files, deleted at the end (DIR.published/PRECISION, of --to's DIR)
  --keep-raw                 leave the published files there
  --preset NAME              take the LoRA of this preset: fusionx, lightx2v or none (repeatable; both when left out)
  --merge NAME[:SCALE]       merge a preset's LoRA into the weights instead of keeping it beside them (repeatable)
  --transformer-source FORM  published, int8 or int8-fusionx (what fits the precision)
  --default-preset NAME      what jobs run with that name no preset
  --no-speech                without Kokoro's voices
  --layers DIR               cut the baked folder into image layers; --to is empty afterwards
  --layer-gb N               largest weights file, and largest layer (5)
  --flag FILE                write this file when all is done
  --attempts N               at each file, where the connection is cut (5)
  --lock                     pin what the hub has now in the lock, and fetch nothing
  --lock-file FILE           another lock
TEXT
}

precision=bf16 target=weights raw='' keep_raw='' layers='' layer_gb=5 flag='' lock=''
# what is fetched is what is baked, whatever a stopped run with other options left in the folder
selection=() fetch_options=() bake_options=()
while (($#)); do
  case $1 in
    --precision) precision=$2; shift 2 ;;
    --to) target=$2; shift 2 ;;
    --raw) raw=$2; shift 2 ;;
    --keep-raw) keep_raw=1; shift ;;
    --preset | --transformer-source) selection+=("$1" "$2"); shift 2 ;;
    --merge) bake_options+=(--lora "$2"); shift 2 ;;
    --default-preset) bake_options+=("$1" "$2"); shift 2 ;;
    --no-speech) selection+=("$1"); shift ;;
    --layers) layers=$2; shift 2 ;;
    --layer-gb) layer_gb=$2; shift 2 ;;
    --flag) flag=$2; shift 2 ;;
    --lock) lock=1; shift ;;
    --lock-file | --attempts) fetch_options+=("$1" "$2"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $1 (--help lists them)." >&2; exit 2 ;;
  esac
done
selection+=(--precision "$precision")
target=${target%/} # names beside it are made of it
raw=${raw:-$target.published/$precision}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
if [[ -z ${PYTHON:-} && -x $here/.venv/bin/python ]]; then
  python=$here/.venv/bin/python
fi

# a build's secret; and an empty variable isn't "none" to the libraries
if [[ -r /run/secrets/HF_TOKEN ]]; then
  HF_TOKEN=$(</run/secrets/HF_TOKEN)
  export HF_TOKEN
fi
for name in HF_TOKEN HF_ENDPOINT SPACY_MODEL_URL; do
  if [[ -z ${!name:-} ]]; then unset "$name"; fi
done

# Fast transfer needs a hub client of its own: pyproject.toml says why (the group fetch).
fetch_environment=${FETCH_ENVIRONMENT:-/opt/fetch}
if [[ ! -x $fetch_environment/bin/python ]]; then
  fetch_environment=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/multitalk/fetch
  if [[ ! -f $fetch_environment/.ready ]]; then
    "$python" -m venv "$fetch_environment"
    "$fetch_environment/bin/pip" install --quiet --no-deps --require-hashes -r "$here/requirements-fetch.txt"
    touch "$fetch_environment/.ready"
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
# only now: whatever stops before here goes on with what was fetched
if [[ -z $keep_raw ]]; then
  # not the folder itself, which may be a mount; the script's own name for it goes, too
  find "$raw" -mindepth 1 -delete
  if [[ $raw == "$target.published/$precision" ]]; then
    rmdir "$raw" && rmdir --ignore-fail-on-non-empty "$target.published"
  fi
fi
if [[ -n $flag ]]; then
  # last of all: whoever finds it needs to check nothing
  echo "${FLAG_CONTENT:-$target}" >"$flag"
fi
