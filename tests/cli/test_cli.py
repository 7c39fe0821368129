"""The command line: options, errors and progress."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from multitalk.bake.commands import lora_option
from multitalk.cli.fields import request_fields
from multitalk.cli.main import build_parser, main
from multitalk.cli.progress_display import ProgressDisplay, format_seconds
from multitalk.errors import InvalidInput
from multitalk.pipeline.progress import Progress
from tests.fresh_process import ROOT

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "script"


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, str]:
    """Paths of an image and two audio files."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 160, 3), np.uint8)).save(tmp_path / "face.png")
    for name, rate in (("first", 22050), ("second", 16000)):
        time = np.arange(rate) / rate
        soundfile.write(tmp_path / f"{name}.wav", 0.3 * np.sin(2 * np.pi * 220 * time), rate)
    return {name: str(tmp_path / name) for name in ("face.png", "first.wav", "second.wav")}


def options(*argv: str) -> argparse.Namespace:
    return build_parser().parse_args(["generate", "-o", "out.mp4", *argv])


def fields(*argv: str) -> dict[str, Any]:
    return request_fields(options(*argv))


def test_options_become_fields() -> None:
    assert fields("--image", "a.png", "--audio", "a.wav") == {"image": "a.png", "audio": "a.wav"}
    assert fields("--audio", "a.wav", "--audio2", "b.wav") == {
        "audio": {"person1": "a.wav", "person2": "b.wav"}
    }
    assert fields("--say", "Hello") == {"speech": {"text": "Hello"}}
    assert fields("--say", "Hi", "--voice", "am_adam", "--language", "b", "--speed", "1.5") == {
        "speech": {"text": "Hi", "voices": {"person1": "am_adam"}, "language": "b", "speed": 1.5}
    }
    assert fields("--boxes", '{"person1": [1, 2, 3, 4]}') == {"boxes": {"person1": [1, 2, 3, 4]}}
    assert fields("--label") == {"label": True}
    assert fields("--label", "Made by AI", "--image", "a.png") == {"label": "Made by AI", "image": "a.png"}
    assert fields("--set", 'label={"corner": "top-left"}') == {"label": {"corner": "top-left"}}
    assert fields("--preset", "demo", "--prompt", "Rain") == {"preset": "demo", "prompt": "Rain"}


def test_settings_are_json_or_plain_text() -> None:
    values = fields(
        *("--set", "size=[64,112]", "--set", "turns=in_order", "--set", "teacache=null", "--set", "apg=true"),
        *("--set", "shift=2.5", "--set", "prompt=42", "--set", 'negative_prompt="a=b"', "--set", "seed = 7"),
    )
    assert values == {
        "size": [64, 112],
        "turns": "in_order",
        "teacache": None,
        "apg": True,
        "shift": 2.5,
        "prompt": "42",
        "negative_prompt": "a=b",
        "seed": 7,
    }


def test_options_override_the_request_file(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"image": "a.png", "audio": "one.wav", "seed": 1, "steps": 3}))
    values = fields("--request", str(job), "--audio2", "two.wav", "--set", "seed=2")
    assert values == {
        "image": "a.png",
        "audio": {"person1": "one.wav", "person2": "two.wav"},
        "seed": 2,
        "steps": 3,
    }


@pytest.mark.parametrize("voices", [["f2"], "f2"])
def test_invalid_voices_of_the_request_file_are_refused_by_the_request(
    tmp_path: Path, inputs: dict[str, str], capsys: pytest.CaptureFixture[str], voices: Any
) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"image": inputs["face.png"], "speech": {"text": "hi", "voices": voices}}))
    output = str(tmp_path / "out.mp4")
    assert main(["generate", "--request", str(job), "--voice", "f3", "-o", output]) == 2
    assert "speech voices must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["generate"], "error: the following arguments are required: -o/--output. Run"),
        (["generate", "-o", "out.mp4"], "error: the image is missing. Add --image FILE, or --video FILE."),
        (["generate", "-o", "out.mp4", "--image", "a.png"], "error: the audio is missing. Add --audio FILE,"),
        (["verify", "nowhere"], "error: Weights folder 'nowhere' does not exist. Create it with"),
        (["generat"], "error: argument COMMAND: invalid choice"),
    ],
)
def test_an_invalid_command_prints_one_line(argv, words, capsys):
    try:
        status = main(argv)
    except SystemExit as end:
        status = end.code
    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(words)


@pytest.mark.parametrize(
    "argv", [["--boxes", "{"], ["--set", "steps"], ["--set", "=3"], ["--request", "none.json"]]
)
def test_malformed_options(argv: list[str]) -> None:
    with pytest.raises(InvalidInput):
        fields(*argv)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_request_files_in_every_encoding_of_json(tmp_path: Path, encoding: str) -> None:
    job = tmp_path / "job.json"
    job.write_text('{"prompt": "Größe", "steps": 4}', encoding=encoding)
    assert fields("--request", str(job)) == {"prompt": "Größe", "steps": 4}
    assert fields("--boxes", '\ufeff{"person1": [1, 2, 3, 4]}') == {"boxes": {"person1": [1, 2, 3, 4]}}
    assert fields("--set", "size=\ufeff[64, 64]") == {"size": [64, 64]}


@pytest.mark.skipif(not SHARED.is_dir(), reason="only beside a development checkout")
def test_shared_request_with_a_byte_order_mark() -> None:
    assert fields("--request", str(SHARED / "bom.json")) == {
        "image": "examples/one_person.png",
        "audio": "examples/one_person.wav",
        "max_seconds": 0.2,
    }


def test_lora_options() -> None:
    assert lora_option("a.safetensors") == ("a.safetensors", 1.0)
    assert lora_option("dir/a.safetensors:0.8") == ("dir/a.safetensors", 0.8)
    assert lora_option("C:\\a.safetensors") == ("C:\\a.safetensors", 1.0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--audio", "first.wav"], "image is missing"),
        (["--image", "face.png"], "audio is missing"),
        (["--image", "face.png", "--audio", "nowhere.wav"], "file not found"),
        (["--image", "first.wav", "--audio", "first.wav"], "cannot be read as an image"),
        (["--image", "face.png", "--audio2", "first.wav"], "error: --audio2 is set, but person1 is missing."),
        (["--image", "face.png", "--audio", "first.wav", "--say", "(s1) hi"], "already has audio"),
        (["--image", "face.png", "--say", "..."], "words to say"),
        (
            ["--video", "https://a.b/c.mp4", "--audio", "first.wav"],
            "error: --video must be a file, not a URL ('https://a.b/c.mp4'). Download it first.\n",
        ),
        (["--image", "HTTP://a.b/c", "--say", "Hi"], "error: --image must be a file, not a URL"),
        (["--image", "face.png", "--audio", "https://a.b/c"], "error: --audio must be a file, not a URL"),
        (
            ["--image", "face.png", "--audio", "first.wav", "--audio2", "s3://b/c"],
            "error: --audio2 must be a file, not a URL",
        ),
        (
            ["--image", "face.png", "--say", "Hi", "--set", "lora=https://a.b/c.safetensors"],
            "error: --set lora path must be a file, not a URL ('https://a.b/c.safetensors')",
        ),
        (
            ["--image", "face.png", "--say", "Hi", "--set", "strength=0"],
            "error: --set strength must be a number above 0 and at most 1, not 0. Use 0.1 to stay close",
        ),
        (
            ["--image", "face.png", "--say", "Hi", "--set", "strength=0.5"],
            "error: --set strength needs a video (0.5)",
        ),
        (
            ["--image", "face.png", "--say", "Hi", "--boxes", '{"person1": [1]}'],
            "error: --boxes person1 must be",
        ),
        (
            ["--image", "face.png", "--say", "Hi", "--set", 'cache={"name": "magcache", "threshold": -1}'],
            "error: --set cache threshold must be",
        ),
        (["--image", "face.png", "--audio", "first.wav", "--set", "step=3"], "Did you mean steps?"),
        (["--image", "face.png", "--audio", "first.wav", "--set", "seed=NaN"], "whole number"),
        (["--image", "face.png", "--audio", "first.wav", "--set", "size=[100,100]"], "multiples of 16"),
        (["--image", "face.png", "--audio", "first.wav", "--preset", "best"], "quality, balanced, fast"),
        (["--image", "face.png", "--audio", "first.wav", "-o", "nowhere/out.mp4"], "does not exist"),
        (
            ["--image", "face.png", "--audio", "first.wav", "-o", "a" * 300],
            "cannot be used: File name too long",
        ),
        (["--image", "face.png", "--audio", "first.wav", "-o", "out.webm"], "output must be an mp4 file"),
        (["--image", "face.png", "--audio", "first.wav", "--weights", "nowhere"], "nowhere"),
    ],
)
def test_user_errors_are_one_sentence_and_status_2(
    inputs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "-o", "out.mp4", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not (tmp_path / "out.mp4").exists()


def test_text_that_the_voice_cannot_read(
    inputs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--image", inputs["face.png"], "--say", "你好", "--quiet", "-o", str(tmp_path / "out.mp4")]
    assert main(["generate", *argv]) == 2
    assert capsys.readouterr().err == (
        "error: speech has Chinese characters ('你好'), which espeak-ng does not read in language a. "
        "Set the language, for example to z (Mandarin Chinese).\n"
    )


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "-o", str(tmp_path / "out.mp4"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["generate"], ["generate", "-o"], ["bake", "--from", "x"]]
)
def test_wrong_arguments_exit_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_the_module_runs() -> None:
    arguments = ["generate", "-o", "out.mp4", "--image", "nowhere.png", "--say", "Hi"]
    result = subprocess.run([sys.executable, "-m", "multitalk", *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: --image: file not found ('nowhere.png').\n"


@pytest.mark.parametrize(
    ("arguments", "unbuffered", "status"),
    [
        (["inspect", "examples/one_person.png"], "", 141),
        (["inspect", "examples/one_person.png"], "1", 141),
        (["doctor", "--plans"], "", 141),
        (["generate", "--help"], "", 141),
        (["generate", "-o", "out.mp4", "--image", "nowhere.png", "--say", "Hi"], "", 2),
    ],
)
def test_a_command_ends_silently_if_nobody_reads(arguments: list[str], unbuffered: str, status: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "multitalk", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    assert ended.returncode == status
    # an error still has its line
    assert ended.stderr == ("" if status == 141 else "error: --image: file not found ('nowhere.png').\n")


def test_a_command_ends_silently_if_nobody_reads_its_errors() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["inspect", "nowhere.mp4"]
    command = [sys.executable, "-m", "multitalk", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, cwd=ROOT)
    os.close(writer)
    assert (ended.returncode, ended.stdout) == (141, b"")


@pytest.mark.parametrize(
    ("program", "name"),
    [("/venv/bin/multitalk", "multitalk"), ("/venv/multitalk/__main__.py", "python -m multitalk")],
)
def test_usage_names_the_command_that_was_started(
    monkeypatch: pytest.MonkeyPatch, program: str, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    assert build_parser().format_usage().startswith(f"usage: {name} ")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def steps() -> list[Progress]:
    return [
        Progress("text", 0, 0, 0, 0, 0.0, None),
        Progress("denoise", 0, 2, 1, 4, 0.2, 75.4),
        Progress("denoise", 0, 2, 2, 4, 0.3, 60.0),
        Progress("done", 1, 2, 4, 4, 1.0, 0.0),
    ]


def test_progress_in_lines() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream) as display:
        display.message("loading")
        for progress in steps():
            display.update(progress)
    assert stream.getvalue().splitlines() == [
        "  0%  text",
        " 20%  denoise  clip 1/2  step 1/4  1:15 left",
        "100%  done  clip 2/2  step 4/4",
    ]


def test_progress_on_a_terminal_and_quiet() -> None:
    terminal, quiet = Terminal(), Terminal()
    for stream in (terminal, quiet):
        with ProgressDisplay(stream, quiet=stream is quiet) as display:
            display.message("loading")
            for progress in steps():
                display.update(progress)
    assert "clip 1/2  step 1/4  1:15 left" in terminal.getvalue()
    assert quiet.getvalue() == ""


def test_seconds_are_readable() -> None:
    assert [format_seconds(seconds) for seconds in (0.4, 75.2, 3661)] == ["0:00", "1:15", "1:01:01"]
