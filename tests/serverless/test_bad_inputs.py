"""Jobs that can't be done: each refused by name and sentence, before any model or download runs."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from multitalk import MultiTalkPipeline
from multitalk.errors import InvalidInput
from multitalk.media.admission import Admission
from multitalk.serverless import inputs
from multitalk.serverless.handler import JobWorker
from multitalk.serverless.inputs import read_request
from multitalk.serverless.worker_settings import WorkerSettings
from tests.media.hostile import (
    icon_with,
    jpeg_2000,
    jpeg_with_scans,
    png_header,
    ppm_with_a_comment,
    silent_flac,
)
from tests.serverless.conftest import FAST, base64_of, job_fields, png, wav
from tests.small_checkpoint import Sizes

IMAGE, SOUND = base64_of(png()), base64_of(wav(0.3))
NAN, INFINITY = float("nan"), float("inf")
PUBLIC = "127.0.0.3"  # counts as public in these tests


class NoModels:
    """A pipeline that must not be used."""

    fps = 25

    def generate(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a model would have run")


def wav_header(seconds: int) -> bytes:
    """A WAV whose header announces a length, but without samples."""
    size = seconds * 32000
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    return (b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + form) + (
        b"data" + struct.pack("<I", size)
    )


def without(name: str) -> dict[str, Any]:
    fields = job_fields()
    del fields[name]
    return fields


# One case for each kind of refusal on its way through the worker; every value of a field is refused in the
# tests of the request, of pictures and sounds, and of sources, paths, and URLs.
# name: (input, or what makes a large one when it is needed; field of the answer)
BAD: dict[str, tuple[Any, str | None]] = {
    "input is a list": ([1, 2], "input"),
    "input is nothing": (None, "input"),
    "nothing given": ({}, "image"),
    "no image": (without("image"), "image"),
    "image is null": (job_fields(image=None), "image"),
    "no sound and no words": (without("audio"), "audio"),
    "audio is null": (job_fields(audio=None), "audio"),
    "unknown field": (job_fields(imagee=IMAGE), "imagee"),
    "image is a number": (job_fields(image=5), "image"),
    "image is blank": (job_fields(image=" \n "), "image"),
    "image is no base64": (job_fields(image="not base64!" * 40), "image"),
    "image is a damaged data URI": (job_fields(image="data:image/png;base64" + IMAGE), "image"),
    "image is html": (job_fields(image=base64_of(b"<html><img src=x></html>" * 30)), "image"),
    "image is a wav": (job_fields(image=SOUND), "image"),
    "image is a header of 900 megapixels": (job_fields(image=base64_of(png_header(30000, 30000))), "image"),
    "image is half of a PNG": (job_fields(image=base64_of(png(600, 400)[:300_000])), "image"),
    "image is a PNG with damaged pixels": (
        job_fields(image=base64_of(png(600, 400).replace(b"IDAT", b"IDAX", 1))),
        "image",
    ),
    "image is a JPEG with 300 scans": (
        lambda: job_fields(image=base64_of(jpeg_with_scans(300, 4000))),
        "image",
    ),
    "image is an ICO around a PNG of 169 megapixels": (
        job_fields(image=base64_of(icon_with(png_header(13_000, 13_000)))),
        "image",
    ),
    "image is a PPM behind a comment of 60 MB": (
        lambda: job_fields(image=base64_of(ppm_with_a_comment(60_000_000))),
        "image",
    ),
    "image is a JPEG 2000 of 49 megapixels": (lambda: job_fields(image=base64_of(jpeg_2000())), "image"),
    "image is one pixel": (job_fields(image=base64_of(png(1, 1))), "image"),
    "image is 1000 times as wide as high": (job_fields(image=base64_of(png(16_000, 16))), "image"),
    "image is the text of a program": (job_fields(image=base64_of(b"import os\n" * 99)), "image"),
    "image is a PostScript program": (
        job_fields(image=base64_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n" * 9)),
        "image",
    ),
    "image of 200 MB": (lambda: job_fields(image="A" * 267_000_000), "image"),
    "image is file:": (job_fields(image="file:///etc/passwd"), "image"),
    "image is ftp:": (job_fields(image="ftp://example.com/a.png"), "image"),
    "image is javascript:": (job_fields(image="javascript:alert(1)"), "image"),
    "image is on loopback": (job_fields(image="http://127.0.0.1/a.png"), "image"),
    "image is at the metadata service": (
        job_fields(image="http://169.254.169.254/latest"),
        "image",
    ),
    "image URL without a host": (job_fields(image="http:///a.png"), "image"),
    "image URL with a bad port": (job_fields(image="http://example.com:99999/a.png"), "image"),
    "image URL with a password": (job_fields(image="http://user:hunter2secret@127.0.0.1/a.png"), "image"),
    "image URL of 9000 characters": (job_fields(image="https://example.com/" + "a" * 9000), "image"),
    "image redirects to loopback": (job_fields(image="URL/to-loopback"), "image"),
    "image URL answers 200 MB": (job_fields(image="URL/big"), "image"),
    "image path of the system": (job_fields(image="/etc/passwd"), "image"),
    "image path with dots": (job_fields(image="ROOT/../outside.png"), "image"),
    "image path through a link": (job_fields(image="ROOT/link.png"), "image"),
    "image path is relative": (job_fields(image="face.png"), "image"),
    "image path with a null": (job_fields(image="/etc/\0passwd"), "image"),
    "audio is a list": (job_fields(audio=[SOUND, SOUND]), "audio"),
    "audio is empty": (job_fields(audio={}), "audio"),
    "audio of a fifth person": (job_fields(audio={"person1": SOUND, "person5": SOUND}), "person5"),
    "audio without the second person": (
        job_fields(audio={"person1": SOUND, "person3": SOUND}),
        "audio.person3",
    ),
    "audio of person2 alone": (job_fields(audio={"person2": SOUND}), "audio.person2"),
    "audio of a person is a number": (job_fields(audio={"person1": 7}), "audio.person1"),
    "audio is a picture": (job_fields(audio=IMAGE), "audio"),
    "audio is too short": (job_fields(audio=base64_of(wav(0.1))), "audio"),
    "audio is silence, which takes 4000 times its size": (
        lambda: job_fields(audio=base64_of(silent_flac(60))),
        "audio",
    ),
    "audio is longer than the limit": (
        lambda: job_fields(audio=base64_of(silent_flac(601, 1, 8000))),
        "audio",
    ),
    "audio is only a header": (job_fields(audio=base64_of(wav_header(60))), "audio"),
    "audio of person2 is damaged": (
        job_fields(audio={"person1": SOUND, "person2": base64_of(b"fLaC" + b"\0\1" * 500)}),
        "audio.person2",
    ),
    "audio is a playlist": (
        job_fields(audio=base64_of(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n" * 9)),
        "audio",
    ),
    "audio names a file to FFmpeg": (
        job_fields(audio=base64_of(b"ffconcat version 1.0\nfile /etc/hostname\n" * 9)),
        "audio",
    ),
    "audio path of the system": (job_fields(audio={"person1": "/etc/shadow"}), "audio.person1"),
    "audio on loopback": (job_fields(audio={"person1": "http://127.0.0.1/a.wav"}), "audio.person1"),
    "steps is NaN": (job_fields(steps=NAN), "steps"),
    "seed is huge": (job_fields(seed=10**400), "seed"),
    "size is odd": (job_fields(size=[65, 64]), "size"),
    "boxes outside": (job_fields(boxes={"person1": [0, 0, 1000, 10]}), "boxes.person1"),
    "prompt with a lone surrogate": (job_fields(prompt="\ud800"), "prompt"),
    "speech of a third person": (without("audio") | {"speech": "(s3) Hello."}, "speech"),
    "lora outside": (job_fields(lora=[{"path": "/etc/passwd"}]), "lora.path"),
    "lora through a link": (job_fields(lora=["ROOT/link.safetensors"]), "lora.path"),
    "lora is a picture": (job_fields(lora=["ROOT/face.png"]), "lora"),
    "lora is a number": (job_fields(lora=5), "lora"),
    "lora scale is NaN": (job_fields(lora=[{"path": "ROOT/a.safetensors", "scale": NAN}]), "lora.scale"),
    "alias and name": (job_fields(image_path=IMAGE), "image"),
    "alias mode unknown": (job_fields(mode="fast"), "mode"),
    "alias steps is a word": (without("steps") | {"sample_steps": "many"}, "steps"),
    "alias steps is NaN in words": (without("steps") | {"sample_steps": "nan"}, "steps"),
    "alias audio_type unknown": (job_fields(audio_type="sometimes"), "turns"),
    "alias mode and max_seconds": (job_fields(mode="clip", max_seconds=2), "max_seconds"),
}


@pytest.fixture(scope="module")
def public_server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            location = {"/to-loopback": "http://127.0.0.1:9/x"}.get(self.path)
            self.send_response(302 if location else 200)
            if location:
                self.send_header("Location", location)
            if self.path == "/big":
                self.send_header("Content-Length", "200000000")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((PUBLIC, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{PUBLIC}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roots")
    (folder / "in").mkdir()
    for name in ("outside.png", "outside.safetensors", "in/face.png", "in/a.safetensors"):
        (folder / name).write_bytes(png())
    (folder / "in" / "link.png").symlink_to(folder / "outside.png")
    (folder / "in" / "link.safetensors").symlink_to(folder / "outside.safetensors")
    return folder / "in"


@pytest.fixture(scope="module")
def worker_settings(roots: Path) -> WorkerSettings:
    return WorkerSettings(input_roots=(roots,), allowed_networks=(ipaddress.ip_network(f"{PUBLIC}/32"),))


def placed(value: Any, url: str, roots: Path) -> Any:
    """An input with the test's own server and folder in it."""
    if isinstance(value, str) and len(value) < 200:
        return value.replace("URL", url).replace("ROOT", str(roots))
    if isinstance(value, dict):
        return {key: placed(item, url, roots) for key, item in value.items()}
    return [placed(item, url, roots) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", BAD)
def test_a_bad_job_is_refused_by_field_and_sentence(name, worker_settings, public_server, roots, capsys):
    given_input, field = BAD[name]
    if callable(given_input):
        given_input = given_input()
    worker = JobWorker(NoModels(), worker_settings, {})  # type: ignore[arg-type]
    answer = asyncio.run(worker.handle({"id": "bad", "input": placed(given_input, public_server, roots)}))
    assert answer["error_type"] == "invalid_input", answer
    assert answer["field"] == field, answer
    sentence = answer["error"]
    assert sentence.endswith((".", ".]", ")")) or "try [" in sentence, sentence
    assert 15 < len(sentence) < 500
    for leak in (str(roots), "Traceback", "hunter2secret", "multitalk/", "site-packages", "/etc/"):
        assert leak not in json.dumps(answer), answer
    assert worker.config == {}


def test_a_bad_number_is_refused_before_a_good_url_is_fetched(worker_settings, monkeypatch):
    async def fetched(*_: Any) -> bytes:
        raise AssertionError("fetched")

    monkeypatch.setattr(inputs, "fetch", fetched)
    fields = job_fields(image="https://example.com/a.png", steps=NAN)
    with pytest.raises(InvalidInput, match="steps"):
        asyncio.run(read_request(fields, worker_settings))


# Words and LoRAs, with real weights: these need the speech engine or the model's shapes to be refused.

LORA = "blocks.0.self_attn.q"
SPOKEN = without("audio")
PATHS = {"image_path": IMAGE, "audio_paths": {"person1": SOUND}, **FAST}  # as the other worker's clients

# name: (input, field of the answer, part of the sentence)
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "Chinese in English": (SPOKEN | {"speech": "你好"}, "speech", "to z (Mandarin Chinese)"),
    "Arabic in English": (SPOKEN | {"speech": "مرحبا"}, "speech", "to ar (Arabic)"),
    "Japanese in English": (SPOKEN | {"speech": "こんにちは"}, "speech", "to j (Japanese)"),
    "kanji with espeak-ng": (SPOKEN | {"speech": {"text": "日本", "language": "j"}}, "speech", "kana"),
    "Russian of one speaker": (SPOKEN | {"speech": "(s1) Hi (s2) Привет"}, "speech", "of person2"),
    "a full-width fifth speaker": (SPOKEN | {"speech": "（s5）你好"}, "speech", "（s5）"),
    "a full-width tag without words": (SPOKEN | {"speech": "（s1）你好（s2）…"}, "speech", "character 7"),
    "Markdown without words": (SPOKEN | {"speech": "```python\n---"}, "speech", "words to say"),
    "bbox is a list": (PATHS | {"bbox": [0, 0, 10, 10]}, "boxes", "bbox must be"),
    "bbox of a fifth person": (PATHS | {"bbox": {"person5": [0, 0, 9, 9]}}, "boxes.person5", "bbox"),
    "bbox of three numbers": (PATHS | {"bbox": {"person1": [0, 0, 9]}}, "boxes.person1", "[y0, x0, y1, x1]"),
    "bbox below the image": (PATHS | {"bbox": {"person1": [0, 0, 90, 60]}}, "boxes.person1", "bbox.person1"),
    "bbox and boxes": (PATHS | {"bbox": {"person1": [0, 0, 9, 9]}, "boxes": {}}, "boxes", "set the same"),
    "only empty audio": (
        PATHS | {"audio_paths": {"person1": "", "person2": None}},
        "audio",
        "audio_paths has no entry",
    ),
    "image_url is no image": (
        {"image_base64": SOUND, "wav_base64": SOUND},
        "image",
        "image_base64 (",
    ),
    "wav_base64 is no sound": (
        {"image_base64": IMAGE, "wav_base64": IMAGE},
        "audio.person1",
        "wav_base64 (",
    ),
    "wav_base64_2 is no sound": (
        {"image_base64": IMAGE, "wav_base64": SOUND, "wav_base64_2": IMAGE, "person_count": "multi"},
        "audio.person2",
        "wav_base64_2 (",
    ),
    "video_path is outside": (
        {"video_path": "/etc/passwd", "wav_base64": SOUND},
        "video",
        "video_path is outside",
    ),
    "max_frame beside mode": (
        {"image_base64": IMAGE, "wav_base64": SOUND, "max_frame": 9, "mode": "clip"},
        "max_seconds",
        "max_frame cannot be used with mode 'clip'",
    ),
    "only the second voice": (
        {"image_url": "u", "wav_url_2": "a"},
        "wav_url_2",
        "the first voice is missing",
    ),
    "no file of an InfiniteTalk job": (
        {"wav_base64": SOUND},
        "image",
        "image is missing. Set image_path, image_url or image_base64.",
    ),
    "no video of an InfiniteTalk job": (
        {"input_type": "video", "image_base64": IMAGE, "wav_base64": SOUND},
        "video",
        "video is missing, but input_type is 'video'. Set video_path, video_url or video_base64.",
    ),
    "lora without a header": (job_fields(lora=["ROOT/text.safetensors"]), "lora", "cannot be read"),
    "lora with nested brackets": (
        job_fields(lora=["ROOT/deep.safetensors"]),
        "lora",
        "cannot be read",
    ),
    "lora with a header of a list": (job_fields(lora=["ROOT/list.safetensors"]), "lora", "JSON object"),
    "lora with odd shapes": (job_fields(lora=["ROOT/shape.safetensors"]), "lora", "whole numbers"),
    "lora with a bad name": (job_fields(lora=["ROOT/surrogate.safetensors"]), "lora", "cannot be read"),
    "lora that is cut": (job_fields(lora=["ROOT/cut.safetensors"]), "lora", "bytes, but must have"),
    "lora is a DoRA": (job_fields(lora=["ROOT/dora.safetensors"]), "lora", "is a DoRA"),
    "lora is a LoHa": (job_fields(lora=["ROOT/loha.safetensors"]), "lora", "is a LoHa"),
    "lora is a LoKr": (job_fields(lora=["ROOT/lokr.safetensors"]), "lora", "is a LoKr"),
    "lora of another model": (job_fields(lora=["ROOT/other.safetensors"]), "lora", "for another model"),
}
WITH_HEADER = {
    "text": b"this is no header",
    "deep": b"[" * 100_000,
    "list": b"[]",
    "shape": b'{"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}',
    "surrogate": b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    "cut": b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}',
}


@pytest.fixture(scope="module")
def lora_files(roots: Path) -> Path:
    for name, header in WITH_HEADER.items():
        length = (1 << 60) if name == "text" else len(header)
        data = length.to_bytes(8, "little") + header + bytes(4)
        (roots / f"{name}.safetensors").write_bytes(data)
    for name, suffix in (("dora", "dora_scale"), ("loha", "hada_w1_a"), ("lokr", "lokr_w1")):
        save_file({f"lora_unet_blocks_0_ffn_0.{suffix}": torch.ones(4)}, roots / f"{name}.safetensors")
    save_file({"transformer.blocks.99.norm2.diff": torch.ones(4)}, roots / "other.safetensors")
    dim = Sizes().dim
    tensors = {"base_model.model.patch_embedding.diff": torch.ones(dim, 16, 1, 2, 2)}
    tensors |= {f"base_model.model.{LORA}.lora_A.weight": torch.ones(2, dim)}
    tensors |= {f"base_model.model.{LORA}.lora_B.weight": torch.ones(dim, 2)}
    save_file(tensors, roots / "t2v.safetensors")
    return roots


@pytest.fixture(scope="module")
def small_worker(small_weights: Path, lora_files: Path) -> JobWorker:
    pipeline = MultiTalkPipeline.from_pretrained(small_weights, device="cpu")
    return JobWorker(pipeline, WorkerSettings(input_roots=(lora_files,)), {})


def answer_of(worker: JobWorker, job_input: Any, roots: Path) -> dict[str, Any]:
    return asyncio.run(worker.handle({"id": "words", "input": placed(job_input, "", roots)}))


@pytest.mark.parametrize("name", REFUSED)
def test_words_and_loras_are_refused_before_a_model_runs(name, small_worker, lora_files, monkeypatch):
    def encoded(*_: Any) -> None:
        raise AssertionError("a model would have run")

    monkeypatch.setattr("multitalk.conditioning.job._encode_prompts", encoded)
    job_input, field, words = REFUSED[name]
    answer = answer_of(small_worker, job_input, lora_files)
    assert (answer.get("error_type"), answer["field"]) == ("invalid_input", field), answer
    assert words in answer["error"]
    assert len(answer["error"]) < 400
    assert str(lora_files) not in json.dumps(answer)
    json.dumps(answer, ensure_ascii=False).encode()


LEFT_OUT = ["LoRA file t2v.safetensors is for text to video: its change of the patch embedding"]
IGNORED = ["Fields that are not supported were ignored: "]
# name: (input, beginnings of the warnings)
ACCEPTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a text-to-video lora": (job_fields(lora=["ROOT/t2v.safetensors"]), LEFT_OUT),
    "bbox, rows first": (PATHS | {"bbox": {"person1": [0, 10, 60, 90]}}, []),
    "bbox is null": (PATHS | {"bbox": None}, []),
    "bbox is empty": (PATHS | {"bbox": {}}, []),
    "bbox is an empty text": (PATHS | {"bbox": ""}, []),
    "person2 is empty": (PATHS | {"audio_paths": {"person1": SOUND, "person2": ""}}, []),
    "person2 is empty and has a box": (
        PATHS
        | {"audio_paths": {"person1": SOUND, "person2": ""}}
        | {"bbox": {"person1": [0, 0, 60, 40], "person2": [0, 50, 60, 90]}},
        [],
    ),
    "unknown fields": (PATHS | {"network_volume": True, "ping": 1}, IGNORED),
    "many unknown fields": (PATHS | {f"field{n}": n for n in range(1000)}, IGNORED),
    "Markdown and Chinese": (SPOKEN | {"speech": {"text": "**你好**", "language": "z"}}, []),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_people_send_is_accepted(name, small_worker, lora_files):
    job_input, warnings = ACCEPTED[name]
    answer = answer_of(small_worker, job_input, lora_files)
    assert answer.get("status") == "success", answer
    given = answer.get("warnings", [])
    assert len(given) == len(warnings)
    assert all(one.startswith(start) and len(one) < 400 for one, start in zip(given, warnings, strict=True))


def test_bbox_has_rows_first(worker_settings):
    fields = PATHS | {"bbox": {"person1": [5, 10, 50, 80]}}
    request = asyncio.run(read_request(fields, worker_settings))
    assert request.boxes == {"person1": (10, 5, 80, 50)}


def test_unknown_fields_of_own_names_are_still_refused(worker_settings):
    with pytest.raises(InvalidInput, match=r"'imagee' is not a field of the input. Did you mean image"):
        asyncio.run(read_request(job_fields(imagee=IMAGE), worker_settings))


def test_a_full_memory_for_decoding_is_a_sentence(worker_settings, monkeypatch):
    full = Admission(parallel=0, patience=0)
    monkeypatch.setattr("multitalk.media.decoding.admission", full)
    worker = JobWorker(NoModels(), worker_settings, {})  # type: ignore[arg-type]
    answer = asyncio.run(worker.handle({"id": "bad", "input": job_fields()}))
    assert answer == {
        "error": "The memory for decoding is full with the files of other requests. Try again in a minute.",
        "error_type": "out_of_memory",
        "field": None,
    }
    assert worker.config == {}, "the process is fine"


@pytest.mark.parametrize("boxes", ["boxes", "bbox"])
def test_a_silent_person_needs_a_box_alone(boxes, worker_settings):
    """Person 1 has no voice; the files are read after the other fields were checked."""
    fields = PATHS if boxes == "bbox" else job_fields()
    fields = {name: value for name, value in fields.items() if name not in ("audio", "audio_paths")}
    audio = {"audio_paths" if boxes == "bbox" else "audio": {"person2": SOUND}}
    both = {"person1": [0, 0, 30, 40], "person2": [0, 40, 30, 60]}
    request = asyncio.run(read_request(fields | audio | {boxes: both}, worker_settings))
    assert (request.named_people, list(request.audio)) == (("person1", "person2"), ["person2"])
    with pytest.raises(InvalidInput, match="person2 is set, but person1 is missing"):
        asyncio.run(read_request(fields | audio, worker_settings))
