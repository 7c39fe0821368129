#!/usr/bin/env bash
# The image with Docker on one machine: the targets of docker-bake.hcl in turn.
#   scripts/image.sh build      base, weights and app, without a registry in their names
#   scripts/image.sh push       all of them to $REGISTRY, from the build cache, with SBOM and provenance
# PRECISION (int8, bf16, fp8 or slim), STACK (cu124 or cu128) and the variables of docker-bake.hcl are read from the
# environment. NEEDED_GB overrides how much free disk is required, for a build whose weights are in the cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "error: $*" >&2
  exit 2
}

precision=${PRECISION:-int8} stack=${STACK:-cu124}
case $stack in
  cu124 | cu128) ;;
  *) fail "STACK: unknown stack ($stack). Use cu124 or cu128." ;;
esac
case $precision in # free disk for a build: the table of docs/IMAGE.md
  int8) needed=180 ;;
  bf16) needed=355 ;;
  fp8) needed=300 ;;
  slim) needed=25 ;;
  *) fail "PRECISION: unknown precision ($precision). Use int8, bf16, fp8 or slim." ;;
esac
targets=("base-$stack" "weights-$precision-$stack" "$precision-$stack")
[[ $precision != slim ]] || targets=("base-$stack" "slim-$stack")
app=multitalk:$precision-$stack
VERSION=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' multitalk/__init__.py)
REVISION=$(git rev-parse HEAD 2>/dev/null || true)
export VERSION REVISION

check_docker() {
  command -v docker >/dev/null || fail "docker is not installed. Install Docker Engine 25 or newer."
  docker info &>/dev/null || fail "the Docker daemon does not answer. Start it; 'docker info' shows the reason."
  docker buildx version &>/dev/null || fail "docker has no buildx. Install the package docker-buildx-plugin or docker-buildx."
}

check_disk() {
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

bake() {
  # the builder of the docker context: only its images are found by the next target and by docker run
  local target
  for target in "${targets[@]}"; do docker buildx bake --builder "$(docker context show)" "$target"; done
}

case ${1:-} in
  build)
    check_docker
    check_disk
    REGISTRY="" PUSH=false bake
    echo "Built $app. Run it: docker run --gpus all -p 7860:7860 $app"
    ;;
  push)
    [[ -n ${REGISTRY:-} ]] || fail "REGISTRY is not set. Name one that you are logged in to: make push REGISTRY=ghcr.io/YOU"
    check_docker
    docker image inspect "$app" &>/dev/null || fail "$app is not built. Run make image first."
    [[ $(docker info --format '{{.DriverStatus}}') == *io.containerd.snapshotter* ]] ||
      fail "Docker's classic image store cannot hold an SBOM. Enable the containerd image store" \
        "(docs.docker.com/engine/storage/containerd), and run make image again."
    export SBOM_SCANNER=${SBOM_SCANNER-docker/buildkit-syft-scanner:stable-1}
    PUSH=true bake
    ;;
  *) fail "say build or push." ;;
esac
