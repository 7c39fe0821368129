"""A bucket that is down for a while, has moved, or refuses: a finished video is not lost."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from multitalk.serverless import bucket as bucket_module
from multitalk.serverless import delivery as delivery_module
from multitalk.serverless.answers import Undelivered
from multitalk.serverless.bucket import Bucket, BucketError, Patience
from multitalk.serverless.worker_settings import BucketSettings, WorkerSettings
from tests.serverless.conftest import decoded
from tests.serverless.gate import Gate
from tests.serverless.storage import Storage
from tests.serverless.test_delivery import clip, deliver, result

__all__ = ["result"]
VIDEO = bytes(range(256)) * 4000
DOWN = [503] * 7  # the client repeats a request twice: more than two attempts


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    server = Storage()
    yield server
    server.close()


@pytest.fixture
def gate(storage) -> Iterator[Gate]:
    gate = Gate(storage.url)
    yield gate
    gate.close()


@pytest.fixture
def settings(gate, storage, monkeypatch) -> BucketSettings:
    monkeypatch.setattr(bucket_module, "FIRST_PAUSE", 0.01)
    return BucketSettings(gate.url, storage.bucket, None, "", 60, "key", "hush-hush")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "made.mp4"
    path.write_bytes(VIDEO)
    return path


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.message == name]  # type: ignore[attr-defined]


@pytest.mark.parametrize("failures", [DOWN, ["reset"] * 7, [500, "reset", 502, 503, 504, 429, "reset", 503]])
def test_an_upload_is_repeated_until_the_bucket_is_back(settings, gate, video, failures, caplog):
    gate.answers.extend(failures)
    url = Bucket(settings).upload(video, "a/video.mp4", Patience(60))
    assert requests.get(url, timeout=30).content == VIDEO
    pauses = [fields["pause"] for fields in events(caplog, "bucket_retry")]
    assert len(pauses) >= 2
    assert pauses == sorted(set(pauses)), "they grow"


def test_pauses_do_not_grow_for_ever(settings, gate, video, monkeypatch, caplog):
    monkeypatch.setattr(bucket_module, "LONGEST_PAUSE", 0.02)
    gate.answers.extend([503] * 20)
    Bucket(settings).upload(video, "a/video.mp4", Patience(60))
    assert events(caplog, "bucket_retry")[-1]["pause"] == 0.02


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_not_repeated(settings, gate, video, status):
    gate.always = status
    with pytest.raises(BucketError, match=rf"rejected the upload \({status}\)") as error:
        Bucket(settings).upload(video, "a/video.mp4", Patience(math.inf))
    assert not error.value.temporary
    assert len(gate.asked) == 1


def test_a_bucket_that_stays_down_is_said_to_be_down(settings, gate, video):
    gate.always = 503
    with pytest.raises(BucketError, match=r"not available \(503\)") as error:
        Bucket(settings).upload(video, "a/video.mp4", Patience(0.05))
    assert error.value.temporary
    assert "credentials" not in str(error.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_and_logged(settings, gate, storage, video, status, caplog):
    gate.answers.append(f"{status} {storage.url}")
    if status != 308:  # the client asks the bucket for its region too
        gate.answers.append(f"{status} {storage.url}")
    made = Bucket(settings)
    url = made.upload(video, f"moved-{status}/video.mp4")
    assert url.startswith(storage.url)
    assert requests.get(url, timeout=30).content == VIDEO
    (redirected,) = events(caplog, "bucket_redirected")
    assert redirected["advice"] == f"Set BUCKET_ENDPOINT_URL to {storage.url}."
    before = len(gate.asked)
    made.upload(video, f"moved-{status}/video2.mp4")
    assert len(gate.asked) == before, "the new address is used from now on"


def test_a_check_follows_a_redirect_too(settings, gate, storage):
    gate.always = f"301 {storage.url}"
    Bucket(settings).check("a/video.mp4")


@pytest.mark.parametrize("where", ["itself", "nowhere", "elsewhere"])
def test_a_redirect_that_leads_nowhere_is_named(settings, gate, video, where):
    gate.always = {"itself": f"301 {gate.url}", "nowhere": 301, "elsewhere": "301 ftp://127.0.0.1:9"}[where]
    with pytest.raises(BucketError, match="redirects to another address") as error:
        Bucket(settings).upload(video, "a/video.mp4", Patience(math.inf))
    assert "BUCKET_ENDPOINT_URL" in str(error.value)
    assert gate.url not in str(error.value)


def test_after_a_redirect_to_a_server_that_is_down_the_bucket_itself_is_asked_again(settings, gate, video):
    gate.answers.extend(["307 http://127.0.0.1:9"] * 2)
    assert Bucket(settings).upload(video, "a/video.mp4", Patience(60)).startswith(gate.url)


def test_a_video_with_no_other_place_waits_until_the_bucket_is_back(settings, gate, result, monkeypatch):
    monkeypatch.setattr(delivery_module, "VIDEO_SECONDS", 0.0)
    gate.answers.extend(DOWN)
    made = deliver(result, WorkerSettings(inline_limit=1000), bucket=Bucket(settings))
    url = made.finish(result, "a.mp4")["video_url"]
    assert requests.get(url, timeout=30).content == result.path.read_bytes()


def test_the_waiting_ends_with_the_job(settings, gate, result):
    cancel = threading.Event()
    gate.always = 503
    gate.on_request = cancel.set
    made = deliver(result, WorkerSettings(inline_limit=1000), bucket=Bucket(settings), cancel=cancel)
    with pytest.raises(Undelivered, match=r"not available \(503\).*no other place"):
        made.finish(result, "a.mp4")


@pytest.mark.parametrize("place", ["volume", "output"])
def test_a_video_with_another_place_goes_there_when_the_job_ends(settings, gate, result, tmp_path, place):
    cancel = threading.Event()
    gate.always = 503
    gate.on_request = cancel.set
    volume = tmp_path if place == "volume" else None
    made = deliver(result, WorkerSettings(output_root=volume), bucket=Bucket(settings), cancel=cancel)
    if place == "output":
        answer = made.finish(result, "a.mp4")
        assert decoded(answer) == result.path.read_bytes()
        assert "not available" in answer["warning"]
    else:
        with pytest.raises(Undelivered, match="saved on the network volume") as kept:
            made.finish(result, "a.mp4")
        assert Path(str(kept.value.video_path)).read_bytes() == result.path.read_bytes()


def test_the_waiting_can_be_limited(settings, gate, result):
    gate.always = 503
    limited = WorkerSettings.from_environment({"BUCKET_RETRY_SECONDS": "0.05"})
    made = deliver(result, replace(limited, inline_limit=1000), bucket=Bucket(settings))
    with pytest.raises(Undelivered, match="not available"):
        made.finish(result, "a.mp4")


def test_a_bucket_that_is_back_is_asked_before_a_job_is_stopped(settings, gate, result):
    gate.always = 503
    limited = WorkerSettings(inline_limit=1000, bucket_retry_seconds=0.0)
    made = deliver(result, limited, bucket=Bucket(settings))
    made.start()
    gate.always = None
    result.path.with_name(".out.part").write_bytes(VIDEO)
    made.clip(clip(1, 100, 20, 1000))
    urls: list[str] = []
    made._on_url = lambda _, url: urls.append(url)
    made.clip(clip(2, 120, 20, 1000))
    assert len(urls) == 1, "the next clips are uploaded again"
