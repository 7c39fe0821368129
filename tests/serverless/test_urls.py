"""Fetching: real servers on several loopback addresses, of which one counts as public."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiohttp.abc import AbstractResolver

from multitalk.errors import InvalidInput
from multitalk.serverless.urls import fetch, is_allowed

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"
ALLOWED = (ipaddress.ip_network(f"{PUBLIC}/32"),)
BIG = 200_000_000


class Server:
    """Serves what its paths say, and counts what it was asked for."""

    def __init__(self, address: str, private_port: int = 0) -> None:
        self.requests: list[str] = []
        self.bytes_sent = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                server.answer(self, self.path.split("?")[0], private_port)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://{address}:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, path: str, private_port: int) -> None:
        locations = {
            "/to-private": f"http://{PRIVATE}:{private_port}/secret",
            "/to-name": f"http://localhost:{private_port}/secret",
            "/to-relative": "/file",
            "/to-file": "file:///etc/passwd",
            "/to-self": "/to-self",
            "/to-nowhere": None,
        }
        if path in locations:
            request.send_response(302)
            if locations[path]:
                request.send_header("Location", str(locations[path]))
            request.end_headers()
            return
        request.send_response(404 if path == "/absent" else 200)
        if path == "/gzip":
            request.send_header("Content-Encoding", "gzip")
        if path == "/big-told":
            request.send_header("Content-Length", str(BIG))
        if path == "/short":
            request.send_header("Content-Length", "100")
        request.end_headers()
        self._send_body(request, path)

    def _send_body(self, request: BaseHTTPRequestHandler, path: str) -> None:
        try:
            if path.startswith("/big"):
                for _ in range(BIG // 1_000_000):
                    request.wfile.write(bytes(1_000_000))
                    self.bytes_sent += 1_000_000
            elif path == "/slow":
                threading.Event().wait(5)
            elif path != "/empty":
                request.wfile.write(b"content")
        except OSError:
            pass

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def private() -> Iterator[Server]:
    server = Server(PRIVATE)
    yield server
    server.close()


@pytest.fixture(scope="module")
def public(private: Server) -> Iterator[Server]:
    server = Server(PUBLIC, private.port)
    yield server
    server.close()


def get(url: str, **options) -> bytes:
    return asyncio.run(fetch(url, "image", ALLOWED, **options))


class Names(AbstractResolver):
    """Names with addresses of the test's choice; each look-up takes the next."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.lookups = 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        addresses = self.answers[min(self.lookups, len(self.answers) - 1)]
        self.lookups += 1
        return [
            {"hostname": host, "host": each, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for each in addresses
        ]

    async def close(self) -> None:
        pass


def test_a_file_is_fetched_and_relative_redirects_are_followed(public):
    assert get(f"{public.url}/file?token=1") == b"content"
    assert get(f"{public.url}/to-relative") == b"content"


@pytest.mark.parametrize("path", ["/to-private", "/to-name"])
def test_a_redirect_to_a_private_address_is_never_asked(public, private, path):
    before = len(private.requests)
    with pytest.raises(InvalidInput, match="non-public address"):
        get(f"{public.url}{path}")
    assert len(private.requests) == before


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0",
        "0.0.0.0",
    ],
)
def test_no_way_to_write_loopback_gets_through(private, host):
    before = len(private.requests)
    with pytest.raises(InvalidInput):
        get(f"http://{host}:{private.port}/secret")
    assert len(private.requests) == before


def test_a_name_of_a_private_address_is_refused(private):
    with pytest.raises(InvalidInput, match="non-public address"):
        get(f"http://images.example:{private.port}/secret", resolver=Names([PRIVATE]))


def test_a_name_that_changes_its_address_is_connected_to_as_it_was_checked(public, private):
    """DNS rebinding: public when it is looked up, private a moment later."""
    names = Names([PUBLIC], [PRIVATE])
    before = len(private.requests)
    assert get(f"http://images.example:{public.port}/file", resolver=names) == b"content"
    assert (names.lookups, len(private.requests)) == (1, before)


def test_of_several_addresses_only_public_ones_are_connected_to(public, private):
    before = len(private.requests)
    assert get(f"http://both.example:{public.port}/file", resolver=Names([PRIVATE, PUBLIC])) == b"content"
    assert len(private.requests) == before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/absent", "status 404"),
        ("/empty", "empty"),
        ("/gzip", "compressed"),
        ("/short", "connection was lost"),
        ("/to-file", "not file:"),
        ("/to-self", "more than 5 times"),
        ("/to-nowhere", "without a target"),
        ("/big-told", "100 MB"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(public, path, reason):
    with pytest.raises(InvalidInput, match=reason) as refused:
        get(f"{public.url}{path}?token=secret")
    assert refused.value.field == "image"
    assert "secret" not in str(refused.value)
    assert "127." not in str(refused.value)


def test_a_body_without_a_length_is_cut_off_at_the_limit(public):
    before = public.bytes_sent
    with pytest.raises(InvalidInput, match="100 MB"):
        get(f"{public.url}/big")
    assert public.bytes_sent - before < BIG, "the rest was never taken"


def test_a_server_that_takes_its_time_is_given_up(public):
    with pytest.raises(InvalidInput, match=r"within 0\.3 seconds"):
        get(f"{public.url}/slow", seconds=0.3)


def test_a_proxy_of_the_environment_is_not_used(public, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get(f"{public.url}/file") == b"content"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2001:db8::1",
        "3fff::1",
        "fec0::1",
        "feff::1",
        "::7f00:1",
        "4000::1",
        "localhost",
        "2130706433",
        "127.1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_allowed(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses(address):
    assert is_allowed(address)
