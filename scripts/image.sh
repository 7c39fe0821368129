#!/usr/bin/env bash
# The image with plain docker on one machine; docker-bake.hcl has the same stacks for buildx and a registry.
#   scripts/image.sh build      base and app
#   scripts/image.sh push       both to $REGISTRY
# PRECISION (int8, bf16, fp8 or slim), STACK (cu124 or cu128) and the variables of docker-bake.hcl are read from the
# environment. NEEDED_GB overrides how much free disk is required, for a build whose weights are in the cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "error: $*" >&2
  exit 2
}

precision=${PRECISION:-int8} stack=${STACK:-cu124}
base_options=(--platform linux/amd64) app_options=(--platform linux/amd64)
case $stack in
  cu124) ;; # the defaults of base.Dockerfile
  cu128)
    for argument in CUDA=12.8.1 TORCH=2.8.0 FLASH_ATTN=2.8.3 FLASH_ATTN_BUILD=cu12torch2.8cxx11abiTRUE \
      "CUDA_ARCHITECTURES=7.0;7.5;8.0;8.6;8.9;9.0;12.0"; do
      base_options+=(--build-arg "$argument")
    done
    ;;
  *) fail "STACK: unknown stack ($stack). Use cu124 or cu128." ;;
esac
case $precision in # free disk for a build: the table of docs/IMAGE.md
  int8) needed=130 ;;
  bf16) needed=290 ;;
  fp8) needed=250 ;;
  slim) needed=25 ;;
  *) fail "PRECISION: unknown precision ($precision). Use int8, bf16, fp8 or slim." ;;
esac
base=multitalk-base:$stack app=multitalk:$precision-$stack
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' multitalk/__init__.py)

check_docker() {
  command -v docker >/dev/null || fail "docker is not installed. Install Docker Engine 25 or newer."
  docker info &>/dev/null || fail "the Docker daemon does not answer. Start it; 'docker info' shows the reason."
}

check_builder() {
  docker buildx version &>/dev/null || fail "docker has no buildx. Install the package docker-buildx-plugin or docker-buildx."
  local folder free
  folder=$(docker info --format '{{.DockerRootDir}}')
  needed=${NEEDED_GB:-$needed}
  if [[ ! -d $folder ]]; then
    echo "note: $folder is not on this machine: make sure that Docker has $needed GB of free disk." >&2
    return
  fi
  free=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 * 1024 / 1e9) }')
  ((free >= needed)) || fail "$folder has $free GB of free disk, and this build needs $needed GB." \
    "Free some, or set NEEDED_GB lower if the weights are in the build cache."
}

build() {
  # the builder of the docker context: only its images are found by the next build and by docker run
  docker buildx build --builder "$(docker context show)" "$@" .
}

case ${1:-} in
  build)
    check_docker
    check_builder
    for name in MAX_JOBS EXT_PARALLEL; do [[ -z ${!name:-} ]] || base_options+=(--build-arg "$name"); done
    app_options+=(--build-arg "BASE_IMAGE=$base" --build-arg "VERSION=$version"
      --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)")
    if [[ $precision == slim ]]; then
      app_options+=(--target slim)
    else
      app_options+=(--build-arg "PRECISION=$precision")
      for name in DOWNLOAD_OPTIONS HF_ENDPOINT SPACY_MODEL_URL RUN_AS; do
        [[ -z ${!name:-} ]] || app_options+=(--build-arg "$name")
      done
      [[ -z ${HF_TOKEN:-} ]] || app_options+=(--secret "id=HF_TOKEN,env=HF_TOKEN")
    fi
    build --file base.Dockerfile --tag "$base" "${base_options[@]}"
    build --tag "$app" "${app_options[@]}"
    echo "Built $app. Run it: docker run --gpus all -p 7860:7860 $app"
    ;;
  push)
    registry=${REGISTRY:-}
    [[ -n $registry ]] || fail "REGISTRY is not set. Name one that you are logged in to: make push REGISTRY=ghcr.io/YOU"
    check_docker
    for image in "$base" "$app"; do
      docker image inspect "$image" &>/dev/null || fail "$image is not built. Run make image first."
    done
    for pair in "$base $base" "$app $app" "$app multitalk:$version-$precision-$stack"; do
      read -r image name <<<"$pair"
      docker tag "$image" "$registry/$name"
      docker push "$registry/$name"
    done
    ;;
  *) fail "say build or push." ;;
esac
