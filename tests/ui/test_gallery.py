"""The folder of results: which files are added, shown and deleted, and what files may contain."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse

from multitalk.conditioning.metadata import TITLE
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.ui.gallery import Gallery, SaveFailed, slug
from multitalk.ui.gallery_routes import GalleryRoutes
from multitalk.ui.job import Job
from multitalk.ui.jobs import MAX_FINISHED, JobQueue
from multitalk.ui.result import read_result
from multitalk.ui.routes import describe_result
from multitalk.ui.sharing import Sharing
from tests.ui.requests import small_request
from tests.waiting import wait_until


def write_video(path: Path, frames: int = 5, title: str = TITLE, **settings: Any) -> Path:
    with VideoWriter(path, 64, 64, metadata={"title": title, "comment": json.dumps(settings)}) as writer:
        writer.write(np.random.default_rng(0).integers(0, 255, (frames, 64, 64, 3), dtype=np.uint8))
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the temporary folder."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not another file system here")
    folder = Path(tempfile.mkdtemp(dir=shared))
    yield folder
    shutil.rmtree(folder)


def test_results_survive_a_restart_and_the_oldest_are_deleted(tmp_path):
    first = Gallery(tmp_path / "results", limit=10**9)
    names = [first.add(write_video(tmp_path / "v.mp4", seed=n), "Hello you!", n) for n in (1, 2, 2)]
    assert names == ["hello-you-seed1.mp4", "hello-you-seed2.mp4", "hello-you-seed2-2.mp4"]
    again = Gallery(tmp_path / "results", limit=10**9)
    assert [result.name for result in again.results()] == names[::-1]
    assert again.result(names[0]).settings == {"seed": 1}
    assert again.poster(names[0]).read_bytes()[:2] == b"\xff\xd8"
    size = (tmp_path / "results" / names[0]).stat().st_size
    small = Gallery(tmp_path / "results", limit=int(2.5 * size))
    newest = small.add(write_video(tmp_path / "v.mp4"), "Four", 4)
    assert [result.name for result in small.results()] == [newest, names[2]]
    assert sorted(path.name for path in (tmp_path / "results" / ".posters").iterdir()) == [
        f"{newest}.jpg",
        f"{names[2]}.jpg",
    ]


def test_simultaneous_requests_for_a_thumbnail_write_separate_files(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4")
    gallery, save, written = Gallery(tmp_path, 10**9), Image.Image.save, []

    def save_while_another_asks(picture, path, *arguments, **options):
        written.append(path)
        if len(written) == 1:
            assert gallery.poster("v.mp4") is not None
        save(picture, path, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", save_while_another_asks)
    poster = gallery.poster("v.mp4")
    assert len(set(written)) == 2
    assert [path.name for path in (tmp_path / ".posters").iterdir()] == [poster.name]


def test_a_thumbnail_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    def fail(picture, path, *arguments, **options):
        path.write_bytes(b"half")
        raise OSError("no space is left")

    write_video(tmp_path / "v.mp4")
    monkeypatch.setattr(Image.Image, "save", fail)
    assert Gallery(tmp_path, 10**9).poster("v.mp4") is None
    assert list((tmp_path / ".posters").iterdir()) == []


def test_a_file_name_is_made_from_the_title():
    assert slug("(s1) Ça va? (S2) Très bien!") == "ça-va-très-bien"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("（s1）你好！（s2）再见 ２") == "你好-再见-2"
    assert slug("हिन्दी में नमस्ते") == "हिन्दी-में-नमस्ते"
    assert slug("e\u0301te\u0301 .. -- Ελλάδα_Привет") == "été-ελλάδα-привет"
    assert slug("🎉 \ud800 \0 ...") == "video"
    assert len(slug("好" * 500).encode()) <= 120


@pytest.mark.parametrize(
    "title", ["你好，世界！", "สวัสดีครับ", "नमस्ते " * 20, "好" * 300, "Ça va? 100%", "مرحبا"]
)
def test_results_with_any_title_are_served(tmp_path, title):
    gallery = Gallery(tmp_path / "results", limit=10**9)
    name = gallery.add(write_video(tmp_path / "v.mp4"), title, 2**63 - 1)
    assert name == f"{slug(title)}-seed{2**63 - 1}.mp4"
    (result,) = gallery.results()
    assert result.name == name
    app = Starlette(routes=GalleryRoutes(gallery, Sharing()).routes())
    described = describe_result(result)
    assert described["url"].isascii()

    async def fetch() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test/multitalk/") as client:
            return await client.get(f"{described['url']}?download=1"), await client.get(described["poster"])

    video, poster = asyncio.run(fetch())
    assert video.content == (tmp_path / "results" / name).read_bytes()
    assert quote(name) in video.headers["content-disposition"]
    assert poster.content[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".mp4", ".a.mp4", "-a.mp4", "a/b.mp4", "..\\a.mp4", "a\n.mp4", "a b.mp4", "\ud800.mp4"),
        "好" * 100 + ".mp4",
    ],
)
def test_other_names_are_no_results(tmp_path, name):
    assert Gallery(tmp_path, limit=10**9).result(name) is None


def test_the_audio_of_a_stopped_video_ends_with_its_frames(tmp_path):
    sound = Sound(np.full((80_000, 1), 0.1, np.float32), 16_000)
    with VideoWriter(tmp_path / "v.mp4", 64, 64, sound=sound) as writer:
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
        writer.end_here()
    assert read_result(tmp_path / "v.mp4").seconds == pytest.approx(1.0, abs=0.08)


def test_a_video_moves_to_another_file_system(tmp_path, elsewhere):
    made = write_video(tmp_path / "v.mp4", seed=3)
    content = made.read_bytes()
    name = Gallery(elsewhere, 10**9).add(made, "Far away", 3)
    assert (elsewhere / name).read_bytes() == content
    assert not made.exists()
    assert sorted(path.name for path in elsewhere.iterdir()) == [".posters", name]


def test_a_failed_copy_keeps_the_source(tmp_path, elsewhere):
    made = write_video(tmp_path / "v.mp4")
    content = made.read_bytes()
    gallery = Gallery(elsewhere, 10**9)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limits[1]))  # like a full disk
    try:
        with pytest.raises(SaveFailed, match="File too large") as error:
            gallery.add(made, "Too much", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert made.read_bytes() == content
    assert str(made) in str(error.value)
    assert str(elsewhere) in str(error.value)
    assert [path.name for path in elsewhere.iterdir()] == [".posters"], "no incomplete file is left"
    assert gallery.add(made, "Too much", 1) == "too-much-seed1.mp4"


def test_a_video_that_cannot_be_saved_is_kept(tmp_path):
    gallery = Gallery(tmp_path / "results", 10**9)

    def run(job: Job) -> bool:
        if job.title == "lost":
            video = write_video(job.folder / "video.mp4")
            shutil.rmtree(tmp_path / "results")  # like a volume that was removed
            gallery.add(video, job.title, 1)
        return True

    queue = JobQueue(tmp_path / "jobs", lambda: None, run)
    queue.start()
    jobs = []
    for number in range(MAX_FINISHED + 3):  # enough to forget the first
        jobs.append(queue.submit(small_request(), "lost" if number == 0 else "later", "anna"))
        wait_until(lambda job=jobs[-1]: job.is_over, what="the job's end")
    assert (jobs[0].status, jobs[-1].status) == ("failed", "done")
    assert queue.job(jobs[0].id) is None
    video = jobs[0].folder / "video.mp4"
    assert str(video) in jobs[0].error
    assert "No such file" in jobs[0].error
    assert read_result(video).by_multitalk
    assert not jobs[1].folder.exists(), "the other jobs' folders are deleted"


def test_other_videos_are_neither_shown_nor_deleted(tmp_path):
    holiday = write_video(tmp_path / "holiday.mp4", frames=50, title="Our holiday")
    untitled = shutil.copy(holiday, tmp_path / "untitled.mp4")
    with VideoWriter(untitled, 64, 64) as writer:
        writer.write(np.zeros((5, 64, 64, 3), np.uint8))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    gallery = Gallery(tmp_path, limit=1)
    work = tmp_path / ".work"
    work.mkdir()
    names = [gallery.add(write_video(work / "v.mp4"), title, 1) for title in ("One", "Two")]
    assert [result.name for result in gallery.results()] == names[1:], "only the newest fits"
    there = {path.name for path in tmp_path.glob("*.mp4")}
    assert there == {"holiday.mp4", "untitled.mp4", "broken.mp4", names[1]}
    for name in ("holiday.mp4", "untitled.mp4", "broken.mp4"):
        assert (gallery.path(name), gallery.poster(name), gallery.result(name)) == (None, None, None)
    os.symlink(holiday, tmp_path / "link.mp4")
    assert gallery.path("link.mp4") is None


@pytest.mark.parametrize(
    "settings",
    [
        {"speech": "hi"},
        {"speech": ["hi"]},
        {"speech": {"text": ["hi"]}},
        {"speech": {"text": "\ud800 hi"}},
        {"said": {"person1": "hi", "person2": {"text": 3}}},
        {"seed": [[]], "preset": {"a": "\udfff"}, "steps": "\udfff"},
        {"speech": {"text": "word " * 100_000}},
    ],
)
def test_any_settings_in_a_file_can_be_shown(tmp_path, settings):
    write_video(tmp_path / "v.mp4", **settings)
    (result,) = Gallery(tmp_path, 10**9).results()
    described = json.loads(JSONResponse(describe_result(result)).body)
    assert 0 < len(described["title"]) <= 80
    assert max(len(value) for _, value in described["facts"]) <= 40


def test_the_facts_name_the_loras(tmp_path):
    loras = [{"path": "style.safetensors", "scale": 0.75}, {"path": "a" * 300}, {"scale": 1}, "x"]
    write_video(tmp_path / "v.mp4", lora=loras)
    (result,) = Gallery(tmp_path, 10**9).results()
    facts = [value for name, value in describe_result(result)["facts"] if name == "LoRA"]
    assert facts[0] == "style.safetensors × 0.75"
    assert len(facts) == 2
    assert len(facts[1]) <= 40


def test_a_title_contains_the_text_of_both_people(tmp_path):
    write_video(tmp_path / "v.mp4", said={"person1": {"text": "Hello"}, "person2": {"text": "Hi there"}})
    assert Gallery(tmp_path, 10**9).result("v.mp4").title == "Hello Hi there"
