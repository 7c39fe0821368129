"""A gate in front of the S3 server: answers the next requests as a service does that is down or has moved."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

Answer = int | str
DROPPED = {"transfer-encoding", "connection", "content-encoding", "content-length", "date", "server"}


class Gate:
    """Forwards requests to a server, after the answers that a test puts into `answers`.

    Args:
        target: URL of the server.

    Attributes:
        answers: For each next request: a status, "reset" (the connection is reset), or a status, a space and
            the URL of another server to which the request is redirected.
        always: The answer to all requests after these; None forwards them.
        asked: Method and path of each request.
        on_request: Called at each request.
    """

    def __init__(self, target: str) -> None:
        self.answers: deque[Answer] = deque()
        self.always: Answer | None = None
        self.asked: list[str] = []
        self.on_request: Callable[[], None] = lambda: None
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                gate.asked.append(f"{self.command} {self.path}")
                gate.on_request()
                answer = gate.answers.popleft() if gate.answers else gate.always
                if answer is None:
                    self._forward(body)
                elif answer == "reset":
                    self._reset()
                else:
                    status, _, location = str(answer).partition(" ")
                    self.send_response(int(status))
                    if location:
                        self.send_header("Location", location + self.path)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

            def _forward(self, body: bytes) -> None:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                reply = requests.request(
                    self.command, target + self.path, data=body, headers=headers, timeout=60
                )
                self.send_response(reply.status_code)
                for name, value in reply.headers.items():
                    if name.lower() not in DROPPED:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content)

            def _reset(self) -> None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
