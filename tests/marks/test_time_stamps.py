"""Time stamps of a real service: OpenSSL's, behind a server on loopback."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from multitalk.marks.credentials import read_credentials
from multitalk.marks.manifest import make_manifest
from multitalk.marks.signing import sign_file
from tests.marks.certificates import Authority, certify, key_pem, key_usage, pem_of
from tests.marks.video_files import own_identity, signed_video, write_video

CONFIGURATION = """
[tsa]
default_tsa = service
[service]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@pytest.fixture
def service(tmp_path_factory) -> Iterator[tuple[str, list[int]]]:
    """The address of a time stamp service, and the sizes of its answers."""
    folder, authority = tmp_path_factory.mktemp("tsa"), Authority()
    key = rsa.generate_private_key(65537, 2048)
    certificate = certify(
        key,
        "Time Service",
        authority.certificate,
        authority.key,
        x509.BasicConstraints(ca=False, path_length=None),
        key_usage(digital_signature=True),
        critical_purpose=ExtendedKeyUsageOID.TIME_STAMPING,
    )
    (folder / "tsa.pem").write_text(pem_of(certificate))
    (folder / "chain.pem").write_text(authority.pem)
    (folder / "tsa.key").write_text(key_pem(key))
    (folder / "serial").write_text("01")
    (folder / "tsa.cnf").write_text(CONFIGURATION.format(folder=folder))
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = folder / "query.tsq"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            command = ["openssl", "ts", "-reply", "-config", folder / "tsa.cnf", "-queryfile", query]
            answer = subprocess.run(command, capture_output=True, check=True).stdout
            answers.append(len(answer))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", answers
        server.shutdown()


def time_of(path: Path) -> str:
    with path.open("rb") as file:
        credentials = read_credentials(file)
    assert credentials is not None
    assert credentials.state == "valid"
    return credentials.time


def test_the_signature_has_the_services_time(service, tmp_path):
    address, answers = service
    path = signed_video(tmp_path / "a.mp4", time_stamps=address)
    assert len(answers) == 1
    assert time_of(path).startswith("20")
    assert time_of(signed_video(tmp_path / "b.mp4")) == ""
    assert len(answers) == 1


def test_without_an_answer_the_video_is_signed_without_a_time_and_says_so(tmp_path):
    with socket.socket() as held:  # nobody listens
        held.bind(("127.0.0.1", 0))
        address = f"http://user:secret@127.0.0.1:{held.getsockname()[1]}/"
        manifest = make_manifest("MultiTalk", "Apache-2.0", {})
        warnings = sign_file(write_video(tmp_path / "a.mp4"), manifest, own_identity(), address)
    assert warnings == [
        "Signing with the time stamp service 127.0.0.1 failed: the video is signed without a time stamp."
    ]
    assert time_of(tmp_path / "a.mp4") == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
