"""Where a video goes: into the answer where it fits, or onto the volume; stopping before hours are lost."""

from __future__ import annotations

import base64
import io
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from multitalk.marks.tags import GENERATED, ai_tags
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.pipeline.results import Clip, GenerationResult
from multitalk.serverless.answers import Undelivered, encoded_size
from multitalk.serverless.bucket import Bucket
from multitalk.serverless.delivery import JobDelivery, safe_name, split_clip
from multitalk.serverless.worker_settings import BucketSettings, WorkerSettings
from tests.ports import HeldPort
from tests.serverless.conftest import decoded, frame_count
from tests.serverless.storage import Storage, new_bucket


def noise(frames: int, side: int = 128, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 255, (frames, side, side, 3), dtype=torch.uint8, generator=generator)


def sound(seconds: float) -> Sound:
    return Sound(
        np.random.default_rng(0).normal(0, 0.1, (round(seconds * 16000), 1)).astype(np.float32), 16000
    )


def clip(index: int, start: int, frames: int, total: int, side: int = 128) -> Clip:
    return Clip(index, noise(frames, side), torch.zeros(1), 5, start, total, sound(frames / 25))


@pytest.fixture
def result(tmp_path: Path) -> GenerationResult:
    (tmp_path / "job").mkdir()
    path = tmp_path / "job" / "video.mp4"
    with VideoWriter(path, 128, 128, sound=sound(0.8)) as writer:
        writer.write(noise(20))
    return GenerationResult(path, 20, 0.8, 5, {"total": 1.23456}, 128, 128)


def deliver(result: GenerationResult, settings: WorkerSettings, **options: Any) -> JobDelivery:
    values: dict[str, Any] = {
        "bucket": None,
        "job_id": "job1",
        "emit": None,
        "on_url": lambda *_: None,
    } | options
    return JobDelivery(settings, folder=result.path.parent, fps=25, **values)


def at_once(inline_limit: int | None = None) -> WorkerSettings:
    """Settings with which nothing waits for a bucket."""
    return WorkerSettings(inline_limit=inline_limit, bucket_retry_seconds=0.0)


def unreachable() -> Bucket:
    """A bucket on a port where nobody listens."""
    return Bucket(BucketSettings("http://127.0.0.1:9", "videos", None, "", 60, "key", "hush-hush"))


def test_a_video_that_fits_is_in_the_answer(result):
    answer = deliver(result, WorkerSettings()).finish(result, "a.mp4")
    assert decoded(answer) == result.path.read_bytes()
    assert (answer["status"], answer["filename"], answer["timings"]) == ("success", "a.mp4", {"total": 1.235})


def test_the_limit_is_that_of_the_encoded_answer(result):
    size = encoded_size(deliver(result, WorkerSettings()).finish(result, "a.mp4"))
    assert "video_base64" in deliver(result, WorkerSettings(inline_limit=size)).finish(result, "a.mp4")
    with pytest.raises(Undelivered):
        deliver(result, WorkerSettings(inline_limit=size - 1)).finish(result, "a.mp4")


def test_runsync_may_answer_with_twice_as_much():
    assert WorkerSettings().answer_limit("sync-1") == 2 * WorkerSettings().answer_limit("1-u1") == 20_000_000


def test_what_does_not_fit_is_kept_on_the_volume(result, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    settings = WorkerSettings(inline_limit=1000, output_root=volume)
    with pytest.raises(Undelivered, match=r"multitalk/job1\.mp4") as kept:
        deliver(result, settings).finish(result, "a.mp4")
    assert Path(kept.value.video_path or "").read_bytes() == result.path.read_bytes()
    assert str(volume) not in str(kept.value)
    assert [path.name for path in (volume / "multitalk").iterdir()] == ["job1.mp4"]


def test_a_full_volume_keeps_no_half_video(result, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    settings = WorkerSettings(inline_limit=1000, output_root=volume)
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (result.path.stat().st_size // 2, most))
    try:
        with pytest.raises(Undelivered, match="Writing it to the network volume failed too") as kept:
            deliver(result, settings).finish(result, "a.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
    assert kept.value.video_path is None
    assert list((volume / "multitalk").iterdir()) == []


def test_without_a_volume_a_job_stops_as_soon_as_its_video_is_clearly_too_large(result):
    delivery = deliver(result, WorkerSettings(inline_limit=50_000))
    delivery.clip(clip(0, 0, 20, 1000))
    with VideoWriter(result.path.with_name("out.mp4"), 128, 128) as writer:
        writer.write(noise(120))
        with pytest.raises(Undelivered, match="stopped after 120 of 1000 frames"):
            delivery.clip(clip(1, 100, 20, 1000))


def test_a_video_that_will_fit_is_not_stopped(result):
    delivery = deliver(result, WorkerSettings())
    with VideoWriter(result.path.with_name("out.mp4"), 128, 128) as writer:
        writer.write(noise(120))
        delivery.clip(clip(1, 120, 20, 140))


def test_the_frames_of_the_clip_itself_count_when_the_size_is_told(result):
    """The encoder has most of a clip when the clip comes: with clips of 201 frames, as many as all before."""
    frames, starts, side = noise(377, 64), (0, 201), 64
    whole = result.path.with_name("whole.mp4")
    with VideoWriter(whole, side, side) as writer:
        writer.write(frames)
    delivery = deliver(result, WorkerSettings(inline_limit=round(whole.stat().st_size * 4 / 3) + 2000))
    with VideoWriter(result.path.with_name("out.mp4"), side, side) as writer:
        for index, part in enumerate(frames.tensor_split([201])):
            writer.write(part)
            delivery.clip(clip(index, starts[index], len(part), len(frames), side))
    answer = delivery.finish(replace(result, path=whole, frames=len(frames)), "a.mp4")
    assert frame_count(decoded(answer)) == len(frames)


def test_with_a_volume_it_goes_on(result, tmp_path):
    delivery = deliver(result, WorkerSettings(inline_limit=1000, output_root=tmp_path))
    with VideoWriter(result.path.with_name("out.mp4"), 128, 128) as writer:
        writer.write(noise(120))
        delivery.clip(clip(1, 20, 20, 1000))


def test_a_bucket_that_cannot_be_reached_is_noticed_before_the_job_and_the_answer_carries_the_video(result):
    delivery = deliver(result, at_once(), bucket=unreachable())
    delivery.start()
    answer = delivery.finish(result, "a.mp4")
    assert decoded(answer) == result.path.read_bytes()
    assert "cannot be reached" in answer["warning"]
    assert "hush-hush" not in str(answer)


def test_a_bucket_that_could_not_be_reached_at_the_start_is_asked_once_more_for_the_video(result):
    port, name = HeldPort(), new_bucket()
    place = BucketSettings(f"http://127.0.0.1:{port.number}", name, None, "made/", 60, "key", "hush-hush")
    messages: list[dict[str, Any]] = []
    delivery = deliver(result, at_once(), bucket=Bucket(place), emit=messages.append)
    delivery.start()
    delivery.clip(clip(0, 0, 20, 20))
    assert "video_base64" in messages[0], "the bucket isn't asked for every clip"
    storage = Storage(port.number, name)
    port.let_go()
    try:
        answer = delivery.finish(result, "a.mp4")
        assert "warning" not in answer
        assert storage.list_keys() == ["made/job1/video.mp4"]
        assert requests.get(answer["video_url"], timeout=30).content == result.path.read_bytes()
    finally:
        storage.close()


def test_with_a_broken_bucket_no_hours_are_spent_on_a_video_that_no_answer_can_carry(result):
    delivery = deliver(result, at_once(50_000), bucket=unreachable())
    delivery.start()
    with VideoWriter(result.path.with_name("out.mp4"), 128, 128) as writer:
        writer.write(noise(120))
        with pytest.raises(Undelivered, match=r"stopped after 120 of 1000 frames.*cannot be reached"):
            delivery.clip(clip(1, 100, 20, 1000))


def test_with_a_broken_bucket_and_no_room_the_sentence_says_both(result):
    delivery = deliver(result, at_once(1000), bucket=unreachable())
    delivery.start()
    with pytest.raises(Undelivered, match=r"cannot be reached.*too large for the output.*BUCKET_"):
        delivery.finish(result, "a.mp4")


def test_streamed_clips_leave_room_for_the_whole(result):
    messages: list[dict[str, Any]] = []
    limit = 2 * encoded_size({"video_base64": "A" * (result.path.stat().st_size * 4 // 3)}) + 3000
    delivery = deliver(result, WorkerSettings(inline_limit=limit), emit=messages.append)
    delivery.clip(clip(0, 0, 20, 60))
    delivery.clip(clip(1, 0, 20, 60))
    assert ["video_base64" in message for message in messages] == [True, False]
    assert "half" in messages[1]["omitted"]
    assert decoded(delivery.finish(result, "a.mp4")) == result.path.read_bytes()


def test_what_is_too_large_for_a_message_comes_in_parts(tmp_path):
    """RunPod takes messages of at most 1 MB: clips are cut into playable files, the whole into base64."""
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 256, 256, sound=sound(0.8)) as writer:
        writer.write(noise(20, 256))
    messages: list[dict[str, Any]] = []
    large = GenerationResult(path, 20, 0.8, 5, {}, 256, 256)
    delivery = deliver(large, WorkerSettings(), emit=messages.append)
    delivery.clip(clip(0, 0, 20, 20, side=256))
    last = delivery.finish(large, "a.mp4")
    clips = [message for message in messages if message["type"] == "clip"]
    parts = [message for message in messages if message["type"] == "video"]
    assert [each["part"] for each in clips] == list(range(len(clips)))
    assert sum(frame_count(decoded(each)) for each in clips) == 20
    assert len(clips) > 1
    assert [each["part"] for each in parts] == list(range(last["video_parts"]))
    assert b"".join(decoded(each) for each in parts) == path.read_bytes()
    assert base64.b64decode("".join(each["video_base64"] for each in parts)) == path.read_bytes()
    assert max(encoded_size(message) for message in [*messages, last]) <= 1_000_000


def test_a_clip_is_cut_until_every_piece_fits_and_plays(tmp_path):
    whole = clip(2, 100, 40, 200)
    pieces = list(split_clip(whole, tmp_path, 25, 150_000))
    assert len(pieces) > 2
    assert max(len(piece.data) for piece in pieces) <= 150_000
    assert [frame_count(piece.data) for piece in pieces] == [piece.frames for piece in pieces]
    starts = [piece.start for piece in pieces]
    assert starts == [100 + sum(piece.frames for piece in pieces[:number]) for number in range(len(pieces))]
    assert sum(piece.frames for piece in pieces) == 40
    assert list(tmp_path.iterdir()) == []


def test_a_single_frame_that_is_too_large_is_compressed_further(tmp_path):
    one = clip(0, 0, 1, 1, side=256)
    (fragment,) = split_clip(one, tmp_path, 25, 1_000_000)
    (smaller,) = split_clip(one, tmp_path, 25, len(fragment.data) // 2)
    assert len(smaller.data) <= len(fragment.data) // 2
    assert frame_count(smaller.data) == 1


@pytest.mark.parametrize("job_id", ["../../etc", "a/b", "job 1", "ä", "", "x" * 500])
def test_a_jobs_id_makes_no_path(job_id):
    name = safe_name(job_id)
    assert name
    assert "/" not in name
    assert "." not in name
    assert len(name) <= 100


@pytest.mark.parametrize("emit", [None, lambda message: None])
def test_the_last_frame_is_in_the_answer_if_it_fits(result, emit):
    picture = Image.fromarray(noise(1)[0].numpy())
    picture.info["xmp"] = ai_tags(is_composite=False)["xmp"]
    small = replace(result, last_frame=picture)
    assert "last_frame_base64" not in deliver(small, WorkerSettings()).finish(small, "a.mp4")
    answer = deliver(small, WorkerSettings(), emit=emit).finish(small, "a.mp4", with_frame=True)
    png = Image.open(io.BytesIO(base64.b64decode(answer["last_frame_base64"])))
    assert (png.format, png.tobytes()) == ("PNG", picture.tobytes())
    assert GENERATED in png.info["XML:com.adobe.xmp"]
    large = replace(result, last_frame=Image.fromarray(noise(1, side=1100)[0].numpy()))
    answer = deliver(large, WorkerSettings(), emit=emit).finish(large, "a.mp4", with_frame=True)
    assert "too large for the output" in answer["warning"]


def test_the_last_frame_is_uploaded(result):
    small = replace(result, last_frame=Image.fromarray(noise(1)[0].numpy()))
    storage = Storage()
    bucket = Bucket(BucketSettings(storage.url, storage.bucket, None, "", 60, "key", "hush-hush"))
    delivery = deliver(small, WorkerSettings(), bucket=bucket)
    delivery.start()
    answer = delivery.finish(small, "a.mp4", with_frame=True)
    uploaded = requests.get(answer["last_frame_url"], timeout=10)
    assert uploaded.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(uploaded.content)).size == (128, 128)
    storage.close()
