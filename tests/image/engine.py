"""Docker Engine in a folder of its own, without any network but the loopback device and its containers'."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, SHUT_WR, socket
from typing import Any

from tests.waiting import wait_until

from .network import LoopbackNetwork

# where scripts/docker_engine.sh unpacked the packages
TOOLS = Path(
    os.environ.get("MULTITALK_DOCKER_ENGINE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multitalk/docker-engine"
)


class Engine:
    """A Docker daemon with the containerd image store, as a context.

    Args:
        folder: For its images, containers and configuration.
        network: Network namespace of the daemon: its builds and containers reach nothing outside.
    """

    def __init__(self, folder: Path, network: LoopbackNetwork) -> None:
        self.folder, self.network = folder, network
        self.socket = folder / "docker.sock"
        self.environment = os.environ | {
            "PATH": f"{TOOLS}/usr/bin:{TOOLS}/usr/sbin:{os.environ['PATH']}",
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(folder / "client"),
        }

    def __enter__(self) -> Engine:
        plugins = self.folder / "client/cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (plugins / "docker-buildx").symlink_to(TOOLS / "usr/libexec/docker/cli-plugins/docker-buildx")
        settings = self.folder / "daemon.json"
        settings.write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
        options = [
            "--iptables=false",
            "--ip6tables=false",
            "--config-file",
            settings,
            "--host",
            f"unix://{self.socket}",
        ]
        for name in ("data-root", "exec-root", "pidfile"):
            options += [f"--{name}", self.folder / name]
        # its mounts end with it
        command = self.network.command(["unshare", "--mount", "dockerd", *map(str, options)])
        with (self.folder / "dockerd.log").open("a") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

        def answers() -> bool:
            if self.process.poll() is not None:
                raise OSError(f"dockerd ended:\n{(self.folder / 'dockerd.log').read_text()[-3000:]}")
            return (
                subprocess.run(["docker", "info"], env=self.environment, capture_output=True).returncode == 0
            )

        try:
            wait_until(answers, what="dockerd's answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()  # it ends containerd and its containers
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __call__(self, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
        """Run docker; return what it prints.

        Raises:
            RuntimeError: It failed, with what it printed.
        """
        done = self.attempt(["docker", *arguments], cwd=cwd, **environment)
        if done.returncode:
            raise RuntimeError(
                f"docker {' '.join(arguments[:4])} failed:\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
            )
        return done.stdout.strip()

    def attempt(
        self, command: list[str], cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that uses the daemon, in its network."""
        return subprocess.run(
            self.network.command(command),
            env=self.environment | environment,
            cwd=cwd,
            capture_output=True,
            text=True,
        )

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the description of an image or container."""
        (description,) = json.loads(self("inspect", name))
        return description


class BuilderSocket:
    """BuildKit of a daemon as a builder without an image store, as a context.

    It has the socket that buildx's driver `remote` expects of buildkitd. Debian has no package of buildkitd,
    which the driver `docker-container` runs; the daemon contains the same BuildKit, behind an HTTP upgrade.

    Args:
        engine: The daemon.
    """

    def __init__(self, engine: Engine) -> None:
        self.path = engine.folder / "buildkit.sock"
        self._engine = str(engine.socket)

    def __enter__(self) -> BuilderSocket:
        self._server = socket(AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()
        self.path.unlink()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._server.accept()[0]
                daemon = socket(AF_UNIX)
                daemon.connect(self._engine)
                daemon.sendall(
                    b"POST /grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
                )
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += daemon.recv(1)
                for source, target in ((client, daemon), (daemon, client)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket, target: socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(SHUT_WR)


def missing_tools() -> str:
    """Return why an engine cannot start here; empty if it can."""
    if os.geteuid() != 0:
        return "Docker Engine needs root"
    tools = ("debootstrap", "iptables", "unshare", "nsenter", "zstd")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        return f"the tests of the image need {', '.join(missing)}"
    return "" if (TOOLS / "complete").exists() else "Docker Engine is missing: run scripts/docker_engine.sh"
