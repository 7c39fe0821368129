#!/usr/bin/env bash
# Docker Engine for the tests of the image, in a folder, without installing it: scripts/docker_engine.sh FOLDER
# It unpacks Debian's packages: Docker, containerd and buildx of trixie, runc and a registry of bookworm, whose runc
# also runs on bookworm's libraries. apt gets its own configuration, so the machine's packages stay as they are.
set -euo pipefail

folder=$(realpath -m "${1:?usage: scripts/docker_engine.sh FOLDER}")
[[ ! -e $folder/complete ]] || exit 0
mkdir -p "$folder"/apt/{lists,cache/archives}/partial "$folder/packages"
options=(-o "Dir::Etc::sourcelist=$folder/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$folder/apt/lists"
  -o "Dir::Cache=$folder/apt/cache" -o APT::Sandbox::User=root)
for suite in bookworm trixie; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main"
done >"$folder/apt/sources.list"
apt-get update -qq "${options[@]}"
cd "$folder/packages"
apt-get download -qq "${options[@]}" {docker.io,docker-cli,docker-buildx,containerd}/trixie {runc,docker-registry}/bookworm
for package in *.deb; do dpkg -x "$package" "$folder"; done
rm -r "$folder/apt" "$folder/packages"
touch "$folder/complete"
