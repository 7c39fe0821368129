"""GenerationRequest: decoded values, and the error for each invalid one."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from pydantic import ValidationError

from multitalk.errors import InvalidInput
from multitalk.request.build import build_request, read_json_fields
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.numbers import shown
from multitalk.request.parts import LoraSpec, Speech

VOICE = (np.sin(np.arange(16000) / 16000 * 2000).astype(np.float32) * 0.5, 16000)
OPPOSITE = (np.stack([VOICE[0], -VOICE[0]], axis=1), 16000)
SILENCE = (np.zeros(16000, np.float32), 16000)
PICTURE = Image.new("RGB", (200, 100), "grey")
BASE: dict[str, Any] = {"image": PICTURE, "audio": VOICE}


def problem(**fields: Any) -> tuple[str | None, str]:
    """Return (field, sentence) of an invalid request."""
    with pytest.raises(InvalidInput) as caught:
        build_request(fields)
    error = caught.value
    sentence = str(error)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 450
    return error.field, sentence


def test_defaults() -> None:
    request = GenerationRequest(**BASE)
    assert (request.people, request.turns, request.size, request.seed) == (1, "together", "480p", 42)
    assert (request.frames_per_clip, request.motion_frames) == (81, None)
    assert (request.preset, request.steps, request.shift, request.teacache, request.max_seconds) == (
        None,
    ) * 5
    assert (request.apg, request.color_correction, request.lora, request.boxes) == (False, None, (), None)
    assert request.negative_prompt.startswith("bright tones, overexposed")
    assert request.negative_prompt.endswith("walking backwards")
    assert request.audio is not None
    assert list(request.audio) == ["person1"]


def test_all_fields(tmp_path: Path) -> None:
    lora = tmp_path / "style.safetensors"
    lora.write_bytes(b"x")
    request = GenerationRequest(
        image=PICTURE,
        audio={"person2": VOICE, "person1": VOICE},
        turns="add",
        boxes={"person1": [0, 0, 99.5, 100], "person2": (100, 0, 200, 100)},
        prompt="Two friends",
        negative_prompt="",
        preset="fusionx",
        size=[64, 112],
        steps=3,
        shift=2,
        text_guidance=1,
        audio_guidance=np.float32(2.5),
        seed=np.int64(-1),
        teacache=0,
        apg=True,
        color_correction=1,
        frames_per_clip=21.0,
        motion_frames=5,
        max_seconds=0.04,
        lora=[{"path": str(lora), "scale": 0.5}, str(lora), LoraSpec(path=lora)],
    )
    assert request.people == 2
    assert request.turns == "in_order"
    assert request.boxes == {"person1": (0.0, 0.0, 99.5, 100.0), "person2": (100.0, 0.0, 200.0, 100.0)}
    assert request.size == (64, 112)
    assert isinstance(request.shift, float)
    assert (request.audio_guidance, request.seed, request.frames_per_clip) == (2.5, -1, 21)
    assert type(request.frames_per_clip) is int
    assert [(entry.path, entry.scale) for entry in request.lora] == [(lora, 0.5), (lora, 1.0), (lora, 1.0)]
    with pytest.raises(ValidationError):
        request.steps = 4  # type: ignore[misc]


def test_speakers() -> None:
    def spoken(audio: Any, text: str | None) -> tuple[int, tuple[str, ...]]:
        request = GenerationRequest(image=PICTURE, audio=audio, speech=text)
        return request.people, request.spoken

    assert spoken(VOICE, None) == (1, ())
    assert spoken(None, "Hello") == (1, ("person1",))
    assert spoken(None, "(s1) Hello (S2) hi ( s1 ) bye") == (2, ("person1", "person2"))
    assert spoken(VOICE, "Hello") == (2, ("person2",))
    assert spoken({"person1": VOICE, "person2": None}, "(s2) Hello") == (2, ("person2",))
    assert spoken({"person2": VOICE}, "Hello") == (2, ("person1",))
    assert spoken({"person1": SILENCE, "person2": VOICE}, None) == (2, ())
    assert spoken({"person1": SILENCE}, "(s2) Hello") == (2, ("person2",))


def test_speech_as_text_dict_or_model() -> None:
    full = {"text": "Hi", "voices": {"person1": "af_heart"}, "language": "b", "speed": 2}
    assert GenerationRequest(image=PICTURE, speech=full).speech == Speech(**full)
    assert GenerationRequest(image=PICTURE, speech=Speech(text="Hi")).speech == Speech(text="Hi")
    assert GenerationRequest(image=PICTURE, speech="Hi").speech == Speech(text="Hi")


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"image": "nowhere.png"}, "image", "file not found"),
        ({"image": b""}, "image", "empty"),
        ({"image": b"nonsense"}, "image", "cannot be read"),
        ({"image": Image.new("1", (9000, 9000))}, "image", "64 megapixels"),
        ({"image": None}, "image", "image is missing"),
        ({"image": 3}, "image", "must be a path"),
        ({"audio": None}, "audio", "or text in speech"),
        ({"audio": {}}, "audio", "no entry for person1"),
        ({"audio": "nowhere.wav"}, "audio", "file not found"),
        ({"audio": b"nonsense"}, "audio", "cannot be read"),
        ({"audio": (VOICE[0][:3199], 16000)}, "audio", "at least 0.2 seconds"),
        ({"audio": {"person1": VOICE, "person2": (VOICE[0][:99], 16000)}}, "audio.person2", "0.2 seconds"),
        ({"audio": SILENCE}, "audio", "silent"),
        ({"audio": {"person1": SILENCE, "person2": SILENCE}}, "audio", "silent"),
        ({"audio": (np.full(16000, np.nan), 16000)}, "audio", "finite"),
        ({"audio": (np.ones(16000 * 601, np.float32), 16000)}, "audio", "longer than 600 seconds"),
        ({"audio": {"person2": VOICE}}, "audio.person2", "A single speaker is person1"),
        ({"audio": {"person5": VOICE}}, "audio.person5", "Did you mean person"),
        ({"audio": VOICE, "speech": "(s1) hi"}, "speech", "already has audio"),
        ({"audio": {"person1": VOICE, "person2": VOICE}, "speech": "hi"}, "speech", "already"),
        ({"audio": None, "speech": "(s2) hi"}, "speech", "A single speaker is person1"),
        ({"speech": "(s1) hi (s5) there"}, "speech", "(s5) at character 9"),
        ({"speech": "(s1) ... (s2) !?"}, "speech", "words to say"),
        ({"speech": {"text": "hi", "voice": "x"}}, "speech.voice", "Did you mean voices?"),
        ({"speech": {"voices": {}}}, "speech.text", "missing"),
        ({"speech": {"text": "hi", "voices": {"person1": 3}}}, "speech.voices.person1", "must be text"),
        ({"speech": {"text": "hi", "voices": "af_heart"}}, "speech", "voices"),
        ({"speech": {"text": "hi", "speed": 0}}, "speech.speed", "from 0.25 to 4"),
        ({"speech": {"text": "hi", "language": 1}}, "speech.language", "must be text"),
        ({"speech": 3}, "speech", "text"),
        ({"turns": "both"}, "turns", "together, in_order, para, add"),
        ({"boxes": {"person1": [0, 0, 201, 50]}}, "boxes.person1", "x must be from 0 to 200"),
        ({"boxes": {"person1": [-1, 0, 50, 50]}}, "boxes.person1", "outside"),
        ({"boxes": {"person1": [50, 0, 50, 50]}}, "boxes.person1", "empty"),
        ({"boxes": {"person1": [0, 60, 50, 50]}}, "boxes.person1", "empty"),
        ({"boxes": {"person1": [0.2, 0, 0.8, 50]}}, "boxes.person1", "empty"),
        ({"boxes": {"person1": [0, 0, 50]}}, "boxes.person1", "four numbers"),
        ({"boxes": {"person1": [0, 0, math.nan, 50]}}, "boxes.person1", "four numbers"),
        ({"boxes": {"person1": [0, 0, 10**400, 50]}}, "boxes.person1", "four numbers"),
        ({"boxes": {"persona": [0, 0, 50, 50]}}, "boxes.persona", "person1"),
        ({"sed": 1}, "sed", "not a field of a request. Did you mean seed?"),
        (
            {"cache": {"name": "magcache", "treshold": 1}},
            "cache.treshold",
            "not a field of cache. Did you mean threshold?",
        ),
        ({"lora": [{"pth": "x"}]}, "lora.0.pth", "not a field of lora. Did you mean path?"),
        ({"boxes": [0, 0, 50, 50]}, "boxes", "person1"),
        ({"prompt": None}, "prompt", "must be text"),
        ({"prompt": "a" * 10_001}, "prompt", "at most 10000"),
        ({"negative_prompt": "\ud800"}, "negative_prompt", "surrogates"),
        ({"preset": "best"}, "preset", "quality, balanced, fast, fusionx, lightx2v, demo"),
        ({"size": [100, 100]}, "size", "multiples of 16 from 64 to 2048, not [100, 100]. Try [96, 96]"),
        ({"size": [48, 64]}, "size", "from 64 to 2048"),
        ({"size": [64, 2064]}, "size", "from 64 to 2048"),
        ({"size": [64.0, 64.0]}, "size", "[height, width]"),
        ({"size": [64]}, "size", "[height, width]"),
        ({"size": "1080p"}, "size", "480p, 720p"),
        ({"size": [10**5000, 64]}, "size", "multiples of 16"),
        ({"steps": 0}, "steps", "from 1 to 200 or null, not 0"),
        ({"steps": 201}, "steps", "from 1 to 200"),
        ({"steps": 4.5}, "steps", "whole number"),
        ({"steps": True}, "steps", "whole number"),
        ({"shift": 0}, "shift", "above 0"),
        ({"shift": math.nan}, "shift", "above 0"),
        ({"text_guidance": -0.1}, "text_guidance", "from 0 to 1000"),
        ({"audio_guidance": math.inf}, "audio_guidance", "from 0 to 1000"),
        ({"seed": -2}, "seed", "from -1 to 9223372036854775807"),
        ({"seed": 2**63}, "seed", "from -1 to 9223372036854775807"),
        ({"seed": None}, "seed", "whole number"),
        ({"teacache": -1}, "teacache", "of at least 0"),
        ({"teacache": 10**400}, "teacache", "of at least 0"),
        ({"apg": "true"}, "apg", "true or false"),
        ({"apg": 1}, "apg", "true or false"),
        ({"color_correction": 1.1}, "color_correction", "from 0 to 1"),
        ({"frames_per_clip": 80}, "frames_per_clip", "4n+1"),
        ({"frames_per_clip": 1}, "frames_per_clip", "5, 9, 13"),
        ({"motion_frames": 24}, "motion_frames", "4n+1"),
        ({"motion_frames": 81}, "motion_frames", "less than frames_per_clip (81), not 81"),
        ({"max_seconds": 0}, "max_seconds", "of at least 0.04"),
        ({"lora": "nowhere.safetensors"}, "lora", "file not found"),
        ({"lora": [{"path": __file__}]}, "lora", ".safetensors"),
        ({"lora": [{"scale": 1}]}, "lora.0.path", "missing"),
        ({"lora": 3}, "lora", "list"),
        ({"lora": [{"path": "\0"}]}, "lora", "file not found"),
        ({"audio": OPPOSITE}, "audio", "2 channels that cancel each other out"),
        ({"audio_path": "x"}, "audio_path", "audio"),
    ],
)
def test_invalid_fields(fields: dict[str, Any], field: str, words: str) -> None:
    field_in_error, sentence = problem(**{**BASE, **fields})
    assert field_in_error == field
    assert words in sentence
    assert field.split(".")[0] in sentence


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "file, not a folder ("),
        ("pipe", "file, not a named pipe ("),
        ("socket", "file, not a socket ("),
        ("device", "file, not a device ("),
        ("link to folder", "file, not a folder ("),
        ("broken link", ": link to a missing file ("),
        ("below a file", ": file not found ("),
        ("closed folder", ": cannot open "),
        ("long name", ": cannot open "),
    ],
)
@pytest.mark.parametrize("field", ["image", "video", "audio", "audio.person2", "lora"])
def test_paths_that_are_no_files(field: str, kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "device":
            path = Path("/dev/null")
        case "link to folder":
            path.symlink_to(tmp_path)
        case "broken link":
            path.symlink_to("nowhere")
        case "below a file":
            path.write_bytes(b"x")
            path /= "y"
        case "closed folder":  # a loop of links, since root may open every folder
            path.symlink_to(path.name)
        case "long name":
            path = tmp_path / ("x" * 300)
    name, _, person = field.partition(".")
    value: Any = {"person1": VOICE, person: path} if person else path
    fields = BASE | ({"image": None} if field == "video" else {})
    field_in_error, sentence = problem(**{**fields, name: value})
    assert field_in_error == field
    assert sentence.startswith("lora path" if field == "lora" else field)
    assert words in sentence


@pytest.mark.parametrize("field", ["image", "audio"])
def test_a_folder_beside_a_request_file(field: str, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "job.json").write_text(json.dumps({field: "media"}))
    with pytest.raises(InvalidInput, match=f"^{field} must be an {field} file, not a folder"):
        build_request({**BASE, **read_json_fields(tmp_path / "job.json")})


def test_missing_image() -> None:
    sentence = "image is missing. Provide an image in image, or a video in video."
    assert problem(audio=VOICE) == ("image", sentence)


def test_lora_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"x")
    assert problem(**BASE, lora=[{"path": path, "scale": math.inf}])[0] == "lora.scale"


def test_limit_of_the_total_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "1.5")
    both = {"person1": VOICE, "person2": VOICE}
    assert GenerationRequest(image=PICTURE, audio=both).people == 2
    assert "2.0 seconds long in total" in problem(image=PICTURE, audio=both, turns="in_order")[1]


def test_a_mix_may_be_too_large() -> None:
    long = (np.full(4000 * 350, 0.1, np.float32), 4000)
    wide = (np.full((96000, 8), 0.1, np.float32), 96000)
    field, sentence = problem(image=PICTURE, audio={"person1": long, "person2": wide})
    assert field == "audio"
    assert "8 channels at 96000 Hz for 350.0 seconds" in sentence
    shorter = (long[0][: 4000 * 349], 4000)
    both = {"person1": shorter, "person2": wide}
    assert GenerationRequest(image=PICTURE, audio=both).people == 2
    assert "for 350.0 seconds" in problem(image=PICTURE, audio=both, turns="in_order")[1]


def test_json_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job"
    job.mkdir()
    PICTURE.save(job / "face.png")
    soundfile.write(job / "voice.wav", *VOICE)
    soundfile.write(tmp_path / "elsewhere.wav", *VOICE)
    (job / "style.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    path = job / "job.json"
    content = {
        "image": "face.png",
        "audio": {"person1": "voice.wav", "person2": "elsewhere.wav"},
        "lora": [{"path": "style.safetensors"}],
        "prompt": "face.png",
        "teacache": None,
        "size": [64, 64],
    }
    path.write_text(json.dumps(content))
    request = build_request(read_json_fields(path))
    assert (request.people, request.image.size, request.prompt) == (2, (200, 100), "face.png")
    assert request.lora[0].path == job / "style.safetensors"
    for text in ("", "[1]", "{", "{'image': 1}"):
        path.write_text(text)
        with pytest.raises(InvalidInput, match="request file"):
            read_json_fields(path)
    with pytest.raises(InvalidInput, match="No such file"):
        read_json_fields(tmp_path / "nowhere.json")


def test_values_in_errors_are_short() -> None:
    assert shown(b"x" * 1000) == "1000 bytes"
    assert len(shown("x" * 1000)) <= 80
    assert "\n" not in shown("a\nb")


def test_importing_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'gradio', 'librosa', 'skimage', 'av'}"
    code = f"import sys, multitalk, multitalk.request; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
