"""``multitalk inspect``, ``generate`` and the start of each front end, as commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from multitalk.cli.main import main
from multitalk.marks.tags import GENERATED
from tests.fresh_process import ROOT
from tests.marks.video_files import own_identity, reencode, signed_video, write_video


def inspected(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["inspect", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_marked_file(capsys, tmp_path):
    status, out, _ = inspected(capsys, path := signed_video(tmp_path / "a.mp4"))
    first, second, *others = out.splitlines()
    assert status == 0
    assert first == f"{path}: marked as made by AI (c2pa)"
    assert second.startswith("Content Credentials: made by AI with MultiTalk ")
    assert second.endswith("Signed by MultiTalk, self-signed (not a trusted certificate).")
    assert {"time stamp: none", f"digital source type: {GENERATED}"} <= set(others)
    assert 'settings in the metadata: {"seed": 3, "preset": "demo"}' in others


def test_a_trusted_signer(capsys, tmp_path):
    (tmp_path / "trust.pem").write_bytes(own_identity().certificate)
    path = signed_video(tmp_path / "a.mp4")
    status, out, _ = inspected(capsys, path, "--trust", tmp_path / "trust.pem")
    assert (status, "(trusted)" in out) == (0, True)


def test_the_deployers_certificate_is_trusted(capsys, tmp_path, monkeypatch):
    path = signed_video(tmp_path / "a.mp4")
    monkeypatch.setenv("C2PA_CERT", own_identity().certificate.decode())
    assert "(trusted)" in inspected(capsys, path)[1]


def test_unmarked_changed_and_reencoded_files_give_another_status(capsys, tmp_path):
    plain = write_video(tmp_path / "plain.mp4", tags={})
    assert inspected(capsys, plain)[:2] == (
        1,
        f"{plain}: not marked\nNo Content Credentials.\nmetadata: nothing\n"
        'settings in the metadata: {"seed": 3, "preset": "demo"}\n',
    )
    marked = signed_video(tmp_path / "marked.mp4")
    status, out, _ = inspected(capsys, reencode(marked, tmp_path / "again.mp4"))
    assert (status, "No Content Credentials." in out) == (1, True)
    content = bytearray(marked.read_bytes())
    content[-2000] ^= 1
    marked.write_bytes(content)
    status, out, _ = inspected(capsys, marked)
    assert status == 1
    assert "not valid. The file was changed after it was signed." in out
    assert "problem: assertion.bmffHash.mismatch" in out


def test_json(capsys, tmp_path):
    status, out, _ = inspected(capsys, signed_video(tmp_path / "a.mp4"), "--json")
    report = json.loads(out)
    assert status == 0
    assert report["marks"] == ["c2pa"]
    assert report["settings"] == {"seed": 3, "preset": "demo"}
    assert report["credentials"]["state"] == "valid"
    assert report["credentials"]["manifest"]["signature_info"]["alg"] == "Es256"
    assert report["digital_source_type"] == GENERATED


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.mp4"], "file: file not found ('missing.mp4')."),
        ([ROOT / "README.md"], "file (video) cannot be read as a video. Use an undamaged MP4"),
        (["a.mp4", "--trust", "missing.pem"], "--trust: 'missing.pem' cannot be read (No such file"),
        (["a.mp4", "--trust", ROOT / "LICENSE"], "--trust must be a file with certificates in PEM form"),
    ],
)
def test_invalid_input_is_one_line(capsys, arguments, sentence):
    status, out, error = inspected(capsys, *arguments)
    assert (status, out) == (2, "")
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1


def test_a_name_in_a_file_cannot_write_to_the_terminal(capsys, tmp_path):
    path = write_video(tmp_path / "a.mp4", tags={"description": "\x1b[2Jx\ny"})
    _, out, _ = inspected(capsys, path)
    assert "\x1b" not in out
    assert "metadata:  [2Jx y" in out


def test_generate_names_its_option(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", "required")
    job = ["--image", str(ROOT / "examples/one_person.png"), "--audio", str(ROOT / "examples/one_person.wav")]
    assert main(["generate", *job, "--no-mark", "-o", str(tmp_path / "a.mp4")]) == 2
    assert capsys.readouterr().err.startswith("error: --mark must be true, not false: every video made here ")


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "multitalk", "generate", "--image", "a.png", "--audio", "a.wav", "-o", "a.mp4"],
        ["app.py"],
        ["app.py", "--rp_serve_api"],
    ],
    ids=["command line", "page", "worker"],
)
@pytest.mark.slow
def test_every_front_end_refuses_half_a_certificate_at_start(command: list[str], tmp_path: Path):
    mode = "serverless" if "--rp_serve_api" in command else "ui"
    variables = os.environ | {"MODE": mode, "C2PA_CERT": "/nowhere.pem", "OUTPUT_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert "'/nowhere.pem' cannot be read" in ended.stderr
    assert "Traceback" not in ended.stderr
