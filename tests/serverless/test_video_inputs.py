"""Videos in jobs of the worker: where they come from, and the known InfiniteTalk worker's answers."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from multitalk import MultiTalkPipeline
from multitalk.errors import InvalidInput
from multitalk.serverless import sources, urls
from multitalk.serverless.handler import JobWorker
from multitalk.serverless.inputs import input_urls, read_request
from multitalk.serverless.worker_settings import WorkerSettings
from tests.media.sound_files import tone
from tests.media.video_files import number_of, video
from tests.serverless.conftest import FAST, base64_of, frame_count, wav

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
CONTENT = video(frames=20, sound=tone(0.6)[:, 0])
SOUND = base64_of(wav(0.4))


@pytest.fixture
def address() -> Iterator[str]:
    """A server of the video."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    (tmp_path / "clip.mp4").write_bytes(CONTENT)
    return WorkerSettings(input_roots=(tmp_path,), output_root=tmp_path, allowed_networks=LOOPBACK)


def read(settings: WorkerSettings, **fields: Any) -> Any:
    return asyncio.run(read_request({"audio": SOUND, **fields}, settings))


def test_a_video_is_a_url_a_path_or_base64(address, settings, tmp_path) -> None:
    for source in (f"{address}/clip.mp4", str(tmp_path / "clip.mp4"), base64_of(CONTENT)):
        request = read(settings, video=source, source_volume=0.5)
        assert request.video.frames == 20
        assert number_of(request.picture) == 0
        assert request.source_sound is not None


def test_a_video_of_the_volume_is_not_copied(settings, tmp_path) -> None:
    request = read(settings, video=str(tmp_path / "clip.mp4"))
    assert Path(f"/proc/self/fd/{request.video.file.fileno()}").resolve() == tmp_path / "clip.mp4"


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "image", "image is missing. Provide an image in image, or a video in video."),
        ({"video": "u", "image": "u"}, "video", "cannot be used together"),
        ({"video": 3}, "video", "must be a URL"),
        ({"video": "https://example.com/x.mp4", "length": "long"}, "length", "must be one of"),
        ({"video": "https://example.com/x.mp4", "model": "multitalk"}, "model", "not a video"),
        ({"video": "/etc/passwd"}, "video", "outside"),
        ({"image": "https://example.com/x.png", "video_end": "loop"}, "video_end", "needs a video"),
    ],
)
def test_refused_before_anything_is_read(fields, field, words, settings) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(settings, **fields)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_sizes_are_limited(address, settings, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "MAX_VIDEO_BYTES", 1_000)
    for source in (f"{address}/clip.mp4", base64_of(CONTENT)):
        with pytest.raises(InvalidInput, match="video must have at most 0 MB"):
            read(settings, video=source)
    assert read(settings, video=str(tmp_path / "clip.mp4")).video is not None
    with pytest.raises(InvalidInput, match="video must have at most 0 MB"):
        sources.open_path(str(tmp_path / "clip.mp4"), settings.input_roots, "video", 1_000)


def test_urls_under_all_names_are_logged_if_requested() -> None:
    job = {"video_url": "https://a/x", "wav_url": "https://a/y", "wav_url_2": "https://a/z", "image": "no"}
    assert input_urls(job) == ["https://a/x", "https://a/y", "https://a/z"]
    assert urls.MAX_VIDEO_SECONDS > urls.MAX_SECONDS


@pytest.fixture(scope="module")
def worker_pipeline(small_weights: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(small_weights, device="cpu", dtype=torch.float32)


def answer(pipeline: MultiTalkPipeline, settings: WorkerSettings, **fields: Any) -> dict[str, Any]:
    worker = JobWorker(pipeline, settings, {})
    size = {name: value for name, value in FAST.items() if name != "size"}
    job = {"id": "job-1", "input": {"height": 64, "width": 96, **size, **fields}}
    result = asyncio.run(worker.handle(job))
    json.dumps(result)
    return result


def test_a_dub_in_the_known_infinitetalk_workers_names(worker_pipeline, settings, tmp_path) -> None:
    job = {"input_type": "video", "person_count": "single", "video_path": str(tmp_path / "clip.mp4")}
    job |= {"wav_base64": SOUND, "prompt": "A person talks.", "max_frame": 10, "force_offload": False}
    output = answer(worker_pipeline, settings, **job)
    assert output["model"] == "infinitetalk-single"
    assert frame_count(base64.b64decode(output["video"])) == output["frames"] == 10
    assert "video_base64" not in output
    assert "warnings" not in output

    output = answer(worker_pipeline, settings, **job, network_volume=True)
    path = Path(output["video_path"])
    assert path.is_relative_to(tmp_path)
    assert frame_count(path.read_bytes()) == 10
    assert "video" not in output


def test_without_a_volume_the_video_is_in_the_answer_with_a_warning(
    worker_pipeline, settings, tmp_path
) -> None:
    job = {
        "video_path": str(tmp_path / "clip.mp4"),
        "input_type": "video",
        "wav_base64": SOUND,
        "max_frame": 5,
    }
    without = WorkerSettings(input_roots=settings.input_roots)
    output = answer(worker_pipeline, without, **job, network_volume=True)
    assert frame_count(base64.b64decode(output["video"])) == 5
    assert "network volume" in output["warning"]


def test_two_voices_and_our_own_names(worker_pipeline, settings, tmp_path) -> None:
    output = answer(
        worker_pipeline,
        settings,
        video=str(tmp_path / "clip.mp4"),
        audio={"person1": SOUND, "person2": SOUND},
        length="shortest",
    )
    assert output["model"] == "infinitetalk-multi"
    assert "video_base64" in output


def test_a_video_is_continued_from_a_url_a_path_or_base64(address, settings, tmp_path) -> None:
    for source in (f"{address}/clip.mp4", str(tmp_path / "clip.mp4"), base64_of(CONTENT)):
        request = read(settings, continue_from=source, motion_frames=9, last_frame=True)
        assert request.continue_from.frames == 20
        assert number_of(request.picture) == 19
        assert request.image is None
        assert request.sound_before is not None


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        (
            {"continue_from": base64_of(CONTENT), "video": base64_of(CONTENT)},
            "video",
            "cannot be used together",
        ),
        ({"continue_from": base64_of(CONTENT), "motion_frames": 25}, "continue_from", "continues from 25"),
        ({"image": base64_of(CONTENT), "join": False}, "join", "join needs a video to continue"),
        ({"continue_from": base64_of(CONTENT), "last_frame": "yes"}, "last_frame", "must be true or false"),
    ],
)
def test_continued_videos_that_are_refused(fields, field, words, settings) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        read(settings, **fields)
    assert caught.value.field == field


def test_a_continued_job_answers_with_its_last_frame(worker_pipeline, settings) -> None:
    worker = JobWorker(worker_pipeline, settings, {})
    job = {
        "continue_from": base64_of(CONTENT),
        "audio": SOUND,
        "motion_frames": 5,
        "last_frame": True,
        **FAST,
    }
    answer = asyncio.run(worker.handle({"id": "continued", "input": job}))
    assert answer["status"] == "success", answer
    assert answer["frames"] == frame_count(base64.b64decode(answer["video_base64"]))
    assert base64.b64decode(answer["last_frame_base64"]).startswith(b"\x89PNG")
