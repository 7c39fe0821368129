"""Pin what base.Dockerfile downloads: NVIDIA's images, flash-attn's wheel, SageAttention's commit.

``make lock`` runs it. It writes docker-bake.hcl and base.Dockerfile; what cannot be reached stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
)
NOT_REACHED = (OSError, subprocess.SubprocessError)


def image_digest(registry: str, repository: str, tag: str) -> str:
    """Ask a registry for a tag's digest, with an anonymous token if it requires one."""
    request = urllib.request.Request(f"{registry}/v2/{repository}/manifests/{tag}", method="HEAD")
    request.add_header("Accept", MANIFESTS)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', error.headers.get("WWW-Authenticate", "")))
        if error.code != 401 or "realm" not in challenge:
            raise
        query = urllib.parse.urlencode(
            {"service": challenge.get("service", ""), "scope": f"repository:{repository}:pull"}
        )
        with urllib.request.urlopen(f"{challenge['realm']}?{query}", timeout=30) as token:
            request.add_header("Authorization", f"Bearer {json.load(token)['token']}")
        answer = urllib.request.urlopen(request, timeout=30)
    with answer:
        return answer.headers["Docker-Content-Digest"]


def file_sha256(url: str) -> str:
    """Download a file and return its hash."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return hashlib.file_digest(answer, "sha256").hexdigest()


def tag_commit(repository: str, tag: str) -> str:
    """Ask a git repository for a tag's commit."""
    command = ["git", "ls-remote", repository, f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    if not done.stdout:
        raise OSError(f"{repository} has no tag {tag}")
    return done.stdout.splitlines()[-1].split()[0]  # of an annotated tag, the commit is last


def argument(text: str, name: str) -> str:
    """Return an argument's default in a Dockerfile."""
    match = re.search(rf'^ARG {name}="?([^"\n]*)"?$', text, re.M)
    assert match is not None, name
    return match[1]


def main() -> None:
    """Look up all pins and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--registry", default="https://registry-1.docker.io")
    options = parser.parse_args()
    bake_path, base_path = options.folder / "docker-bake.hcl", options.folder / "base.Dockerfile"
    bake, base = bake_path.read_text(), base_path.read_text()
    wheel = argument(base, "FLASH_ATTN_WHEEL")

    def stack_with_pins(match: re.Match[str]) -> str:
        stack = dict(re.findall(r'(\w+) += "([^"]*)"', match[0]))
        url = wheel.replace("${FLASH_ATTN}", stack["flash"]).replace(
            "${FLASH_ATTN_BUILD}", stack["flash_build"]
        )
        pins = {
            kind: lambda name=name: (
                "@" + image_digest(options.registry, "nvidia/cuda", f"{stack['cuda']}-{name}-ubuntu22.04")
            )
            for kind, name in (("base_digest", "base"), ("devel_digest", "cudnn-devel"))
        }
        text = match[0]
        for key, find in (pins | {"flash_sha256": lambda: file_sha256(url)}).items():
            try:
                text = re.sub(rf'({key} += )"[^"]*"', rf'\1"{find()}"', text)
            except NOT_REACHED as error:
                print(f"warning: {key} of {stack['name']} stays as it is: {error}", file=sys.stderr)
        return text

    bake_path.write_text(re.sub(r'\{\n +name += "cu\d+"\n[^}]*\}', stack_with_pins, bake))
    try:
        commit = tag_commit(argument(base, "SAGE_ATTENTION_REPOSITORY"), argument(base, "SAGE_ATTENTION"))
        base_path.write_text(re.sub(r"^(ARG SAGE_ATTENTION_COMMIT=).*$", rf"\g<1>{commit}", base, flags=re.M))
    except NOT_REACHED as error:
        print(f"warning: SAGE_ATTENTION_COMMIT stays as it is: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
