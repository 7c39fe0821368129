"""scripts/lock_image.py with a registry that requires a token, a file server and a git repository."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9"


def digest_of(tag: str) -> str:
    return f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a registry with every tag, a service for its tokens, and wheels."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if self.headers.get("Authorization") != "Bearer anonymous":
                self.send_response(401)
                self.send_header(
                    "WWW-Authenticate", f'Bearer realm="http://{self.headers["Host"]}/token",service="r"'
                )
            else:
                self.send_response(200)
                self.send_header("Docker-Content-Digest", digest_of(self.path.rpartition("/")[2]))
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            scope = "scope=repository%3Anvidia%2Fcuda%3Apull"
            is_token = self.path.startswith("/token") and scope in self.path
            self.wfile.write(b'{"token": "anonymous"}' if is_token else self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    return subprocess.check_output(["git", "-C", folder, *identity, *arguments], text=True).strip()


def copy_definitions(folder: Path, wheels: str, repository: str) -> None:
    (folder / "docker-bake.hcl").write_text((REPOSITORY / "docker-bake.hcl").read_text())
    base = (REPOSITORY / "base.Dockerfile").read_text()
    base = base.replace("https://github.com/Dao-AILab", wheels)
    base = base.replace("https://github.com/thu-ml/SageAttention.git", repository)
    (folder / "base.Dockerfile").write_text(base)


def lock(folder: Path, registry: str) -> str:
    script = [
        sys.executable,
        str(REPOSITORY / "scripts/lock_image.py"),
        "--folder",
        str(folder),
        "--registry",
        registry,
    ]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_everything_is_pinned(tmp_path, server):
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "--quiet")
    git(source, "commit", "--quiet", "--allow-empty", "--message", "one")
    git(source, "tag", "--annotate", "--message", "two", "v2.2.0")
    copy_definitions(tmp_path, server, str(source))
    assert lock(tmp_path, server) == ""
    bake = (tmp_path / "docker-bake.hcl").read_text()
    for cuda in ("12.4.1", "12.8.1"):
        for key, kind in (("base_digest", "base"), ("devel_digest", "cudnn-devel")):
            assert re.search(rf'{key} +=\s+"@{digest_of(f"{cuda}-{kind}-ubuntu22.04")}"', bake)
    wheel = "/flash-attention/releases/download/v2.8.3/"
    wheel += "flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp311-cp311-linux_x86_64.whl"
    assert hashlib.sha256(wheel.encode()).hexdigest() in bake
    commit = git(source, "rev-parse", "v2.2.0^{commit}")
    assert f"ARG SAGE_ATTENTION_COMMIT={commit}\n" in (tmp_path / "base.Dockerfile").read_text()
    lock(tmp_path, server)
    assert (tmp_path / "docker-bake.hcl").read_text() == bake


def test_pins_stay_without_a_network(tmp_path):
    copy_definitions(tmp_path, NOWHERE, f"{tmp_path}/nothing")
    before = [(tmp_path / name).read_text() for name in ("docker-bake.hcl", "base.Dockerfile")]
    warnings = lock(tmp_path, NOWHERE)
    assert "warning: devel_digest of cu124 stays as it is" in warnings
    assert "warning: SAGE_ATTENTION_COMMIT stays as it is" in warnings
    assert [(tmp_path / name).read_text() for name in ("docker-bake.hcl", "base.Dockerfile")] == before
