"""The command line from published weights to a video, with a small checkpoint of random weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from multitalk.cli.generate import preview_file
from multitalk.cli.main import main
from multitalk.media.sound_reading import read_sound
from multitalk.pipeline.results import Preview
from tests.small_checkpoint import LIGHTX2V, make_small_checkpoint

SMALL = (
    "--set",
    "size=[64,64]",
    "--set",
    "steps=1",
    "--set",
    "frames_per_clip=21",
    "--set",
    "motion_frames=5",
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_checkpoint(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def baked(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("baked") / "weights"
    assert main(["bake", "--from", str(raw), "--to", str(target), "--precision", "float32", "--quiet"]) == 0
    return target


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with face.png, one.wav (stereo, 44.1 kHz, 1 s) and two.wav (mono, 16 kHz, 0.5 s)."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 160, 3), np.uint8)).save(folder / "face.png")
    time = np.arange(44100) / 44100
    wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time)
    soundfile.write(folder / "one.wav", np.stack([wave, 0.5 * wave], axis=1), 44100)
    soundfile.write(folder / "two.wav", wave[:8000], 16000)
    return folder


def test_bake_verify_and_doctor(
    raw: Path, baked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(baked)]) == 0
    assert capsys.readouterr().out.endswith("files verified\n")
    assert main(["doctor", "--weights", str(baked)]) == 0
    report = capsys.readouterr().out
    assert "precision float32" in report
    assert LIGHTX2V in report
    assert report.endswith("Ready to generate videos.\n")

    merged = tmp_path / "merged"
    assert main(["bake", "--from", str(raw), "--to", str(merged), "--lora", "lightx2v:1.2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{merged}: ")
    assert "transformer" in captured.err
    assert main(["doctor", "--weights", str(merged)]) == 0
    assert f"{LIGHTX2V} (merged at 1.2)" in capsys.readouterr().out

    weights = next((merged / "vae").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    assert main(["verify", str(merged)]) == 1
    assert "vae" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["--from", "nowhere", "--to", "baked"],
        ["--from", "RAW", "--to", "baked", "--lora", "nowhere.safetensors"],
        ["--from", "RAW", "--to", "baked", "--lora", "lightx2v:nan"],
        ["--from", "RAW", "--to", "baked", "--default-preset", "best"],
    ],
)
def test_bake_refuses_with_one_sentence(
    raw: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bake", *(str(raw) if word == "RAW" else word for word in argv)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_one_person_from_a_request_file(
    baked: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, target = files / "job.json", tmp_path / "out.mp4"
    job.write_text(json.dumps({"image": "face.png", "audio": "one.wav", "steps": 9, "text_guidance": 1}))
    argv = ["generate", "--request", str(job), "--weights", str(baked), *SMALL, "-o", str(target), "--json"]
    assert main(argv) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["path"], result["frames"], result["fps"], result["seed"]) == (str(target), 25, 25, 42)
    assert result["seconds"] == 1.0
    assert result["timings"]["total"] > 0
    assert "denoise  clip 2/2" in captured.err
    with av.open(str(target)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.frames) == ("h264", 64, 64, 25)
        assert (audio.rate, audio.channels) == (44100, 2)
        assert json.loads(container.metadata["comment"])["seed"] == 42
    sound, original = read_sound(target), read_sound(files / "one.wav")
    assert np.corrcoef(sound.mono()[:44100], original.mono())[0, 1] > 0.99


def test_two_people(
    baked: Path,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(baked))
    boxes = '{"person1": [0, 0, 70, 90], "person2": [80, 0, 160, 90]}'
    argv = ["--image", "face.png", "--audio", "two.wav", "--audio2", "one.wav", "--boxes", boxes, *SMALL]
    argv += ["--set", "turns=in_order", "--set", "text_guidance=1", "--set", "seed=-1", "--quiet"]
    assert main(["generate", *argv, "-o", str(tmp_path / "out.mp4")]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith(f"{tmp_path / 'out.mp4'}: 37 frames, 1.48 seconds, seed ")
    assert "seed -1" not in captured.out


def test_person_2_alone_speaks_beside_a_box(
    baked: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(baked))
    argv = ["--image", "face.png", "--audio2", "one.wav", "--boxes", '{"person1": [0, 0, 70, 90]}', *SMALL]
    assert main(["generate", *argv, "--quiet", "-o", str(tmp_path / "out.mp4")]) == 0


def test_interrupting_stops_soon_and_leaves_nothing(baked: Path, files: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "multitalk", "generate", "--weights", str(baked)]
    command += ["--image", str(files / "face.png"), "--audio", str(files / "one.wav")]
    command += ["--set", "size=[64,64]", "--set", "steps=200", "-o", str(tmp_path / "out.mp4")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "denoise" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert lines[-1] == "error: canceled.\n"
    assert os.listdir(tmp_path) == []


def test_the_preview_is_beside_the_output_until_the_end(baked: Path, files: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    arguments = ["--image", str(files / "face.png"), "--audio", str(files / "one.wav"), "-o", str(output)]
    options = [*SMALL, "--set", "steps=2", "--set", "preview=true", "--set", "vae=fast"]
    assert main(["generate", "--weights", str(baked), *arguments, *options, "--quiet"]) == 0
    assert list(tmp_path.iterdir()) == [output]
    frames = torch.zeros(5, 32, 48, 3, dtype=torch.uint8)
    with preview_file(output) as on_preview:
        for step in (1, 2):
            on_preview(Preview(0, 1, step, 4, frames, Fraction(25, 4)))
        with av.open(str(tmp_path / "out.preview.mp4")) as video:
            assert video.streams.video[0].average_rate == Fraction(25, 4)
            assert len(list(video.decode(video=0))) == 5
    assert list(tmp_path.iterdir()) == [output]


def test_a_video_is_continued(
    baked: Path,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(baked))
    first, frame = tmp_path / "first.mp4", tmp_path / "last.png"
    argv = ["--audio", "one.wav", "--quiet", *SMALL]
    last = ["--last-frame", str(frame)]
    assert main(["generate", "--image", "face.png", *argv, *last, "-o", str(first)]) == 0
    assert Image.open(frame).size == (64, 64)
    for options, frames in (([], 50), (["--no-join"], 25)):
        capsys.readouterr()
        rest = ["--continue-from", str(first), *options, *argv]
        assert main(["generate", *rest, "-o", str(tmp_path / "rest.mp4")]) == 0
        assert f": {frames} frames, " in capsys.readouterr().out
    assert main(["generate", "--continue-from", "one.wav", *argv, "-o", str(first)]) == 2
    assert "error: --continue-from ('one.wav')" in capsys.readouterr().err
    assert main(["generate", "--image", "face.png", *argv, "--last-frame", "a.jpg", "-o", str(first)]) == 2
    assert "error: --last-frame must be a png file, not 'a.jpg'." in capsys.readouterr().err
