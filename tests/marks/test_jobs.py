"""Marks of jobs: from Python, and through the worker's handler."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.errors import InvalidInput, MultiTalkError
from multitalk.marks.identity import SELF_SIGNED
from multitalk.marks.tags import COMPOSITE, GENERATED, ai_tags
from multitalk.marks.watermark import number_of
from multitalk.media.fragments import split_clip, write_clip
from multitalk.media.inspection import inspect_file
from multitalk.pipeline.results import GenerationResult
from multitalk.request.build import build_request
from multitalk.serverless.handler import JobWorker
from multitalk.serverless.worker_settings import WorkerSettings
from tests.marks.video_files import change_frames, frames, packets, reencode, signed_video, write_video
from tests.serverless.conftest import decoded, job_fields

FAST = {"size": (64, 64), "steps": 1, "text_guidance": 1.0, "audio_guidance": 1.0}
SHORT = {"frames_per_clip": 21, "motion_frames": 5}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


def request_of(**fields: Any) -> GenerationRequest:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    voice = np.random.default_rng(1).normal(0, 0.1, 6400).astype(np.float32)
    given = {"image": Image.fromarray(pixels), "audio": (voice, 16000), **FAST, **fields}
    if given.keys() & {"video", "continue_from"}:
        del given["image"]
    return build_request(given)


def test_every_video_is_marked_by_default(pipeline, tmp_path):
    words = {"prompt": "PRIVATE scene", "negative_prompt": "PRIVATE too"}
    request = request_of(**words)
    result = pipeline.generate(request, tmp_path / "out.mp4", include_text=True)
    assert (result.marks, result.signed_by) == (("c2pa",), SELF_SIGNED)
    inspection = inspect_file(result.path)
    assert inspection.marks == ("c2pa",)
    assert inspection.credentials.source_type == inspection.source_type == GENERATED
    assert inspection.credentials.generation["model"] == {"name": "MultiTalk", "license": "Apache-2.0"}
    assert inspection.credentials.generation["settings"]["seed"] == 42
    assert "PRIVATE" not in json.dumps(inspection.credentials.manifest)
    # the metadata has what the user asked for, for the page to restore
    assert inspection.settings["prompt"] == "PRIVATE scene"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_without_marks_the_file_has_nothing_else(pipeline, tmp_path):
    marked = pipeline.generate(request_of(), tmp_path / "marked.mp4")
    plain = pipeline.generate(request_of(mark=False), tmp_path / "plain.mp4")
    assert (plain.marks, plain.signed_by) == ((), None)
    inspection = inspect_file(plain.path)
    assert (inspection.credentials, inspection.source_type, inspection.tags.description) == (None, "", "")
    assert packets(marked.path) == packets(plain.path)
    for one, other in zip(frames(marked.path), frames(plain.path), strict=True):
        assert (one == other).all()


def test_clips_have_the_tags_alone(pipeline, tmp_path):
    marked = [next(pipeline.stream(request_of(**SHORT))), next(pipeline.stream(request_of(mark=False)))]
    for clip, says in zip(marked, (GENERATED, ""), strict=True):
        write_clip(clip, tmp_path / "clip.mp4", 25)
        (fragment,) = split_clip(clip, tmp_path, 25, 10**6)
        (tmp_path / "fragment.mp4").write_bytes(fragment.data)
        for name in ("clip.mp4", "fragment.mp4"):
            inspection = inspect_file(tmp_path / name)
            assert inspection.credentials is None
            assert inspection.source_type == says
            assert bool(inspection.tags.description) == bool(says)


def test_a_dubbed_video_is_a_composite(pipeline, tmp_path):
    request = request_of(video=ROOT / "examples" / "talking.mp4")
    inspection = inspect_file(pipeline.generate(request, tmp_path / "out.mp4").path)
    assert inspection.credentials.source_type == inspection.source_type == COMPOSITE
    assert inspection.credentials.generation["model"]["name"] == "InfiniteTalk"
    assert len(inspection.credentials.manifest["ingredients"]) == 1
    assert "talking" not in json.dumps(inspection.credentials.manifest)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (signed_video, GENERATED),
        (write_video, GENERATED),  # the XMP alone, as in a clip
        (lambda path: write_video(path, tags={}), COMPOSITE),
        (lambda path: write_video(path, tags=ai_tags(is_composite=True)), COMPOSITE),
        (lambda path: change_frames(signed_video(path)), COMPOSITE),
        (lambda path: reencode(signed_video(path.with_name("signed.mp4")), path), COMPOSITE),
    ],
    ids=["signed", "xmp", "unmarked", "composite", "changed", "encoded again"],
)
def test_a_video_that_continues_one_made_by_ai_is_made_by_ai(source, expected, pipeline, tmp_path):
    """What the file says is believed as long as its credentials are intact."""
    source(tmp_path / "first.mp4")
    request = request_of(continue_from=tmp_path / "first.mp4", **SHORT)
    joined = inspect_file(pipeline.generate(request, tmp_path / "joined.mp4").path)
    assert joined.credentials.source_type == joined.source_type == expected
    (ingredient,) = joined.credentials.manifest["ingredients"]
    assert ingredient["title"] == "Source video"
    clip = next(pipeline.stream(request))
    assert clip.tags == ai_tags(is_composite=expected == COMPOSITE)


def test_a_part_of_a_video_is_signed_too(pipeline, tmp_path):
    class AfterTheFirstClip:
        clips = 0

        def is_set(self) -> bool:
            return self.clips > 0

        def count(self, _: Any) -> None:
            self.clips += 1

    cancel = AfterTheFirstClip()
    voice = (np.random.default_rng(1).normal(0, 0.1, 32000).astype(np.float32), 16000)
    result: GenerationResult = pipeline.generate(
        request_of(audio=voice, **SHORT),
        tmp_path / "out.mp4",
        cancel=cancel,
        on_clip=cancel.count,
        keep_partial=True,
    )
    assert not result.complete
    assert inspect_file(result.path).marks == result.marks == ("c2pa",)


def test_an_unusable_certificate_fails_before_the_models_run(pipeline, tmp_path, monkeypatch):
    request, calls = request_of(), []
    (tmp_path / "signing.pem").write_text("damaged")
    monkeypatch.setenv("C2PA_FOLDER", str(tmp_path))
    with pytest.raises(MultiTalkError, match=r"signing\.pem: it is damaged"):
        pipeline.generate(request, tmp_path / "out.mp4", on_progress=calls.append)
    assert calls == []
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("policy", "given", "marked"),
    [
        (None, {}, True),
        ("default", {"mark": False}, False),
        ("off", {}, False),
        ("off", {"mark": True}, True),
        ("required", {}, True),
        ("required", {"mark": True}, True),
        (" REQUIRED ", {}, True),
    ],
)
def test_policies(monkeypatch, policy, given, marked):
    if policy is not None:
        monkeypatch.setenv("MARK", policy)
    assert request_of(**given).mark is marked


REFUSED = "mark must be true, not false: every video made here says that it was made by AI (MARK=required)."


def test_a_required_mark_cannot_be_left_out(monkeypatch):
    monkeypatch.setenv("MARK", "required")
    with pytest.raises(InvalidInput) as error:
        request_of(mark=False)
    assert (str(error.value), error.value.field) == (REFUSED, "mark")


@pytest.mark.parametrize("value", ["yes", 1, None, "off"])
def test_mark_is_true_or_false(value):
    with pytest.raises(InvalidInput, match=r"^mark must be true or false, not"):
        request_of(mark=value)


def answer_of(pipeline: MultiTalkPipeline, **fields: Any) -> dict[str, Any]:
    worker = JobWorker(pipeline, WorkerSettings(), {})
    return asyncio.run(worker.handle({"id": "job1", "input": job_fields(**fields)}))


def test_the_workers_answer_tells_the_marks(pipeline, tmp_path, monkeypatch, caplog):
    answer = answer_of(pipeline)
    assert (answer["marks"], answer["signed_by"]) == (["c2pa"], SELF_SIGNED)
    (tmp_path / "out.mp4").write_bytes(decoded(answer))
    assert inspect_file(tmp_path / "out.mp4").marks == ("c2pa",)
    assert answer["watermark"] is None, "frames of 64x64 have none"
    monkeypatch.setattr("multitalk.marks.watermark.MIN_PIXELS", 0)
    caplog.set_level(logging.INFO)
    answer = answer_of(pipeline)
    assert (answer["marks"], answer["watermark"]) == (["c2pa", "watermark"], number_of("job1"))
    (finished,) = [record.fields for record in caplog.records if record.message == "job_finished"]
    assert (finished["marks"], finished["watermark"]) == (answer["marks"], answer["watermark"])
    plain = answer_of(pipeline, mark=False)
    assert plain["status"] == "success"
    assert (plain["marks"], plain["signed_by"], plain["watermark"]) == ([], None, None)
    with av.open(io.BytesIO(decoded(plain))) as container:
        assert "description" not in container.metadata


def test_the_worker_refuses_an_unmarked_job_where_marks_are_required(pipeline, monkeypatch):
    monkeypatch.setenv("MARK", "required")
    assert answer_of(pipeline, mark=False) == {
        "error": REFUSED,
        "error_type": "invalid_input",
        "field": "mark",
    }
    assert answer_of(pipeline)["marks"] == ["c2pa"]
