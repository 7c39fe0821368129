"""Build and run images with buildah, in a temporary storage."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from .network import LoopbackNetwork

PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Buildah:
    """buildah with a temporary storage.

    Args:
        folder: For the storage.
        network: Network of builds and containers.
    """

    def __init__(self, folder: Path, network: LoopbackNetwork) -> None:
        self._options = ["--storage-driver", "overlay", "--root", str(folder / "storage")]
        self._options += ["--runroot", str(folder / "runroot")]
        self.network = network
        # the cache of builds
        self._environment = os.environ | {"TMPDIR": str(folder)}

    def command(self, *arguments: str) -> list[str]:
        return self.network.command(["buildah", *self._options, *arguments])

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, env=self._environment)
        if done.returncode:
            raise RuntimeError(
                f"buildah {' '.join(arguments[:3])} failed:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
            )
        return done.stdout.strip()

    def import_root(self, root: Path, name: str) -> None:
        """Create an image from a folder."""
        container = self("from", "scratch")
        mounted = self("mount", container)
        subprocess.run(["cp", "-a", f"{root}/.", mounted], check=True)
        self("umount", container)
        self("config", "--env", f"PATH={PATH}", container)
        self("commit", "--quiet", "--rm", container, name)

    def build(self, context: Path, name: str, arguments: dict[str, str], *options: str) -> str:
        """Build the context's Dockerfile; return the output."""
        options_of = [
            option for key, value in arguments.items() for option in ("--build-arg", f"{key}={value}")
        ]
        fixed = ["--isolation", "chroot", "--layers", "--format", "docker", "--tag", name]
        return self(
            "build", *fixed, *options_of, *options, "--file", str(context / "Dockerfile"), str(context)
        )

    def config(self, name: str) -> dict[str, Any]:
        """Return an image's configuration in Docker's format."""
        return json.loads(self("inspect", "--type", "image", name))["Docker"]

    def layers(self, name: str) -> list[str]:
        """List the digests of an image's layers, the lowest first."""
        return self.config(name)["rootfs"]["diff_ids"]

    def clean_up(self) -> None:
        """Remove all containers and images."""
        self("rm", "--all")
        self("rmi", "--all", "--force")


class Container:
    """A running container of an image, as a context.

    Args:
        buildah: Has the image.
        image: Its name.
        environment: Variables.
        arguments: Of the entry point.
        log: File for its output.
    """

    def __init__(
        self, buildah: Buildah, image: str, environment: dict[str, str], arguments: list[str], log: Path
    ) -> None:
        self._buildah, self._image, self._arguments, self._log = buildah, image, arguments, log
        self._environment = environment

    def __enter__(self) -> Container:
        self.name = self._buildah("from", self._image)
        variables = [word for key, value in self._environment.items() for word in ("--env", f"{key}={value}")]
        entry = self._buildah.config(self._image)["config"]["Entrypoint"]
        command = self._buildah.command("run", "--isolation", "chroot", *variables, self.name, "--", *entry)
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *self._arguments], stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._buildah("rm", self.name)

    def log(self) -> str:
        return self._log.read_text()
