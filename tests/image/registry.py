"""A registry on the loopback device, and the images that were pushed to it, as it stores them."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engine import TOOLS
from .network import LoopbackNetwork

ADDRESS = "localhost:5000"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Layer:
    """A layer of an image.

    Attributes:
        digest: Of the file.
        format: "tar" or "tar+zstd".
        size: Of the file, in bytes.
        created_by: Instruction that created it.
        path: The file.
    """

    digest: str
    format: str
    size: int
    created_by: str
    path: Path

    @contextmanager
    def open(self) -> Iterator[tarfile.TarFile]:
        """Open it as a stream of files."""
        command = ["zstd", "-dc"] if self.format == "tar+zstd" else ["cat"]
        with subprocess.Popen([*command, self.path], stdout=subprocess.PIPE) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                yield archive
            assert process.stdout is not None
            process.stdout.read()  # padding


@dataclass(frozen=True)
class Image:
    """A pushed image.

    Attributes:
        config: Its configuration.
        layers: The lowest first.
        attestations: Predicate of each attestation, by type.
    """

    config: dict[str, Any]
    layers: list[Layer]
    attestations: dict[str, Any]


class Registry:
    """Debian's docker-registry, as a context.

    Args:
        folder: For its files.
        network: Where it listens on ADDRESS.
    """

    def __init__(self, folder: Path, network: LoopbackNetwork) -> None:
        self._folder, self._network = folder, network
        self._log = folder / "registry.log"

    def __enter__(self) -> Registry:
        settings = self._folder / "registry.json"
        storage = {"filesystem": {"rootdirectory": str(self._folder / "storage")}}
        content = {"version": "0.1", "storage": storage, "http": {"addr": ADDRESS}}
        settings.write_text(json.dumps(content))  # YAML, too
        command = self._network.command([f"{TOOLS}/usr/bin/docker-registry", "serve", str(settings)])
        self._log.unlink(missing_ok=True)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def forget_requests(self) -> None:
        self._log.write_text("")  # the registry appends

    def served(self) -> dict[str, int]:
        """List the blobs that were downloaded, with their sizes."""
        lines = re.findall(r'"GET /v2/\S+/blobs/(\S+) HTTP/[\d.]+" 200 (\d+)', self._log.read_text())
        return {digest: int(size) for digest, size in lines}

    def image(self, repository: str, tag: str) -> Image:
        """Read an image for linux/amd64."""
        tags = self._folder / f"storage/docker/registry/v2/repositories/{repository}/_manifests/tags"
        index = self._read((tags / tag / "current/link").read_text())
        assert index["mediaType"] == INDEX
        image, *attached = [self._read(entry["digest"]) for entry in index["manifests"]]
        config = self._read(image["config"]["digest"])
        history = [entry.get("created_by", "") for entry in config["history"] if not entry.get("empty_layer")]
        layers = [
            Layer(
                entry["digest"],
                entry["mediaType"].removeprefix("application/vnd.oci.image.layer.v1."),
                entry["size"],
                created_by,
                self._path(entry["digest"]),
            )
            for entry, created_by in zip(image["layers"], history, strict=True)
        ]
        statements = [self._read(entry["digest"]) for manifest in attached for entry in manifest["layers"]]
        return Image(config, layers, {entry["predicateType"]: entry["predicate"] for entry in statements})

    def _path(self, digest: str) -> Path:
        value = digest.removeprefix("sha256:")
        return self._folder / f"storage/docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"

    def _read(self, digest: str) -> dict[str, Any]:
        return json.loads(self._path(digest).read_bytes())
