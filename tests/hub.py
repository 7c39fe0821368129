"""A model hub on the loopback device that serves folders as repositories, with faults on request.

``python -m tests.hub RAW_DIR [HOST:]PORT [LOG TOKEN]`` serves a folder as its repositories.
"""

from __future__ import annotations

import hashlib
import json
import re
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from multitalk.bake import catalogue

LARGE = 10_000  # bytes from which the hub has a file's sha256
WEB_FOLDER = "web"


@dataclass
class Faults:
    """Faults by a file's name in its repository.

    Attributes:
        cut: How many more times the connection ends halfway.
        corrupt: Files served with one byte changed.
        missing: Files that do not exist.
        held: Bytes after which sending pauses until the file is removed from here.
        xet: Files announced as stored in Xet, which does not exist.
    """

    cut: dict[str, int] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    held: dict[str, int] = field(default_factory=dict)
    xet: set[str] = field(default_factory=set)


class Hub:
    """The server; use it as a context.

    Args:
        repositories: Files of each repository, by their paths in it.
        web: Files outside repositories, by name.
        port: 0 takes a free one.
        host: Address to listen on.
        token: Required for repositories; None: not required.
        log: File to append each request to.
    """

    def __init__(
        self,
        repositories: dict[str, dict[str, Path]],
        web: dict[str, Path] | None = None,
        port: int = 0,
        token: str | None = None,
        log: Path | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.repositories, self.web, self.token, self.log = repositories, web or {}, token, log
        self.faults = Faults()
        self._hashes: dict[Path, str] = {}
        self.requests: list[tuple[str, str, str]] = []  # method, path, range
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = _Server((host, port), Handler)
        self.address = f"http://{host}:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        self._server.serve_forever()

    def note(self, method: str, path: str, ranged: str) -> None:
        self.requests.append((method, path, ranged))
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{method} {path} {ranged}\n")

    def hash_of(self, file: Path) -> str:
        if file not in self._hashes:
            self._hashes[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        return self._hashes[file]

    def downloads(self, name: str) -> list[str]:
        """List the ranges requested of a file; "" is the whole file."""
        return [
            ranged for method, path, ranged in self.requests if method == "GET" and path.endswith(f"/{name}")
        ]


def commit_of(repository: str) -> str:
    return hashlib.sha1(repository.encode()).hexdigest()


def downloads_under_way() -> list[threading.Thread]:
    """List threads that a failed fetch has left; they end by themselves."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("download")]


def published_repositories(raw: Path) -> dict[str, dict[str, Path]]:
    """Sort a folder of published weights into the repositories of the catalogue."""
    repositories: dict[str, dict[str, Path]] = {}
    for file_set in catalogue.all_file_sets():
        repository = file_set.repository
        paths = [raw / path for path in file_set.paths]
        if repository.folder:
            paths = [path for path in (raw / repository.folder).rglob("*") if path.is_file()]
        files = repositories.setdefault(repository.name, {})
        files |= {repository.remote_path(path.relative_to(raw).as_posix()): path for path in paths}
    return repositories


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server_hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server_hub.note(self.command, path, self.headers.get("Range", ""))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            return self._list(match[1])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(self.server_hub.repositories.get(match[1], {}), match[1], match[3], body)
        if match := re.fullmatch(f"/{WEB_FOLDER}/(.+)", path):
            return self._file(self.server_hub.web, "", match[1], body)
        self._refuse(404, "not found")

    def _allowed(self) -> bool:
        token = self.server_hub.token
        return token is None or self.headers.get("Authorization") == f"Bearer {token}"

    def _refuse(self, status: int, text: str) -> None:
        body = json.dumps({"error": text}).encode()
        self.send_response(status)
        self.send_header("X-Error-Message", text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _list(self, name: str) -> None:
        files = self.server_hub.repositories.get(name)
        if files is None or not self._allowed():
            return self._refuse(401, "not found, or unauthorized")
        siblings = []
        for path, file in sorted(files.items()):
            if path in self.server_hub.faults.missing or not file.is_file():
                continue
            entry: dict[str, Any] = {"rfilename": path, "size": file.stat().st_size, "blobId": "0" * 40}
            if file.stat().st_size >= LARGE:
                sha256 = self.server_hub.hash_of(file)
                entry["lfs"] = {"sha256": sha256, "size": file.stat().st_size, "pointerSize": 130}
            siblings.append(entry)
        body = json.dumps(
            {"id": name, "modelId": name, "sha": commit_of(name), "siblings": siblings}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, files: dict[str, Path], repository: str, name: str, body: bool) -> None:
        faults = self.server_hub.faults
        file = files.get(name)
        if file is None or name in faults.missing or not file.is_file():
            return self._refuse(404, f"{name} not found")
        if repository and not self._allowed():
            return self._refuse(401, "unauthorized")
        size, sha256 = file.stat().st_size, self.server_hub.hash_of(file)
        begin, end = _range(self.headers.get("Range", ""), size)
        with file.open("rb") as stream:
            stream.seek(begin)
            part = stream.read(end - begin)
        if name in faults.corrupt and end == size:
            part = part[:-1] + bytes([part[-1] ^ 1])
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if repository:
            self.send_header("X-Repo-Commit", commit_of(repository))
            large = size >= LARGE
            self.send_header("ETag", f'"{sha256 if large else sha256[:40]}"')
            if large:
                self.send_header("X-Linked-Size", str(size))
                self.send_header("X-Linked-Etag", f'"{sha256}"')
            if name in faults.xet:
                self.send_header("X-Xet-Hash", sha256)
                self.send_header("X-Xet-Refresh-Route", f"{self.server_hub.address}/nowhere")
        self.end_headers()
        if not body:
            return
        if faults.cut.get(name, 0) > 0:
            faults.cut[name] -= 1
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        with suppress(ConnectionError):  # a client that reads only the headers
            for offset in range(0, len(part), 1_000_000):
                while begin + offset >= faults.held.get(name, size):
                    if self._client_is_gone():
                        self.close_connection = True
                        return
                    time.sleep(0.05)
                self.wfile.write(part[offset : offset + 1_000_000])

    def _client_is_gone(self) -> bool:
        readable = select.select([self.connection], [], [], 0)[0]
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)


def _range(text: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", text)
    if match is None:
        return 0, size
    return int(match[1]), min(int(match[2]) + 1, size) if match[2] else size


def main() -> None:
    raw = Path(sys.argv[1])
    host, _, port = sys.argv[2].rpartition(":")
    log, token = (Path(sys.argv[3]), sys.argv[4]) if len(sys.argv) > 4 else (None, None)
    web = {path.name: path for path in raw.glob("*.whl")}
    hub = Hub(published_repositories(raw), web, int(port), token, log, host or "127.0.0.1")
    print(hub.address, flush=True)
    hub.serve_forever()


if __name__ == "__main__":
    main()
