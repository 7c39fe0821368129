"""Who may see and delete results, and how they are found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from multitalk.errors import InvalidInput
from multitalk.ui.access import COOKIE
from multitalk.ui.gallery import Gallery
from multitalk.ui.gallery_routes import GalleryRoutes
from multitalk.ui.job_owner import owner_of
from multitalk.ui.sharing import Sharing, read_sharing
from tests.ui.test_gallery import write_video

LOCAL, PUBLIC, PRIVATE = Sharing(False, True), Sharing(True, True), Sharing(False, False)


def owner(browser: str) -> str:
    """Return the owner that a browser's cookie stands for."""
    cookie = [(b"cookie", f"{COOKIE}={browser}".encode())]
    return owner_of(Request({"type": "http", "headers": cookie}))


@pytest.fixture
def gallery(tmp_path) -> Gallery:
    """Results of two browsers, and one of the command line."""
    gallery = Gallery(tmp_path / "results", 10**9)
    for number, (browser, title) in enumerate(
        [("anna", "你好 Ünïted"), ("bert", "Hello (s2) World"), ("", "cli")]
    ):
        video = write_video(tmp_path / "v.mp4", seed=number)
        gallery.add(video, title, number, owner(browser) if browser else "")
    return gallery


class Browser:
    """Sends requests to the routes with a browser's cookie."""

    def __init__(self, gallery: Gallery, sharing: Sharing, browser: str) -> None:
        self._app = Starlette(routes=GalleryRoutes(gallery, sharing).routes())
        self._cookies = {COOKIE: browser}

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._send("GET", path, options))

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._send("DELETE", path, options))

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", cookies=self._cookies
        ) as web:
            return await web.request(method, path, **options)


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("multitalk.ui.sharing.upload_folder", lambda: str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


@pytest.mark.parametrize(("sharing", "others"), [(LOCAL, 404), (PUBLIC, 200), (PRIVATE, 404)])
def test_the_dubbed_video_is_for_the_browser_that_uploaded_it(sharing, others, tmp_path, uploads):
    gallery = Gallery(tmp_path / "results", 10**9)
    source = write_video(uploads / "talk.mp4", seed=9).rename(uploads / "talk.html")
    name = gallery.add(write_video(tmp_path / "v.mp4"), "Dub", 1, owner("anna"), str(source))
    mine, other = Browser(gallery, sharing, "anna"), Browser(gallery, sharing, "bert")
    (described,) = mine.get("/multitalk/results").json()["results"]
    answer = mine.get(f"/multitalk/{described['source']}")
    assert answer.content == source.read_bytes()
    assert answer.headers["content-type"] == "video/mp4", "whatever its name says"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert mine.get(f"/multitalk/{described['source']}", headers={"Range": "bytes=0-9"}).status_code == 206
    assert other.get(f"/multitalk/sources/{name}").status_code == others
    for result in other.get("/multitalk/results").json()["results"]:
        assert (result["source"] is None) == (others == 404)
    source.unlink()  # as after a day
    assert mine.get(f"/multitalk/sources/{name}").status_code == 404
    assert mine.get("/multitalk/results").json()["results"][0]["source"] is None


def test_only_uploads_are_sent_as_dubbed_videos(tmp_path, uploads):
    gallery = Gallery(tmp_path / "results", 10**9)
    (uploads / "link.mp4").symlink_to("/etc/hostname")
    for number, source in enumerate(
        ("", "/etc/hostname", f"{uploads}/../v.mp4", f"{uploads}/link.mp4", str(uploads))
    ):
        name = gallery.add(write_video(tmp_path / "new.mp4"), "Dub", number, owner("anna"), source)
        (tmp_path / "v.mp4").write_bytes(b"video")
        assert Browser(gallery, LOCAL, "anna").get(f"/multitalk/sources/{name}").status_code == 404
    assert Browser(gallery, LOCAL, "anna").get("/multitalk/sources/no.mp4").status_code == 404


def test_notes_of_earlier_versions_are_read(gallery):
    from multitalk.ui.result_notes import Note, read_note

    (name,) = [result.name for result in gallery.results() if result.noted_title.startswith("Hello")]
    (gallery.folder / ".notes" / f"{name}.json").write_text('{"owner": "x", "title": 3, "other": "y"}')
    assert read_note(gallery.folder, name) == Note("x")


def titles(web: Browser, **query: Any) -> list[str]:
    return [result["title"] for result in web.get("/multitalk/results", params=query).json()["results"]]


def test_titles_are_kept_in_every_script(gallery):
    assert titles(Browser(gallery, LOCAL, "anna")) == ["cli", "Hello World", "你好 Ünïted"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("你好", ["你好 Ünïted"]),
        ("united", ["你好 Ünïted"]),
        ("WORLD hel", ["Hello World"]),
        ("world cli", []),
        (" ", ["cli", "Hello World", "你好 Ünïted"]),
    ],
)
def test_results_are_found_by_title(gallery, words, found):
    assert titles(Browser(gallery, LOCAL, "anna"), search=words) == found


def test_mine_and_everybodys(gallery):
    web = Browser(gallery, LOCAL, "anna")
    assert titles(web, whose="mine") == ["你好 Ünïted"]
    assert len(titles(web, whose="all")) == 3
    answer = web.get("/multitalk/results", params={"most": "2"}).json()
    assert (len(answer["results"]), answer["more"], answer["choice"]) == (2, True, True)
    assert not Browser(gallery, PUBLIC, "anna").get("/multitalk/results").json()["choice"]


def test_private_results_are_visible_to_their_browser_only(gallery):
    name = next(result.name for result in gallery.results() if result.owner == owner("anna"))
    for browser, status in (("anna", 200), ("bert", 404)):
        web = Browser(gallery, PRIVATE, browser)
        assert titles(web, whose="all") == [{"anna": "你好 Ünïted", "bert": "Hello World"}[browser]]
        assert web.get(f"/multitalk/results/{name}").status_code == status
        assert web.get(f"/multitalk/posters/{name}").status_code == status
        assert not web.get("/multitalk/results").json()["choice"]


def test_results_are_deleted_by_their_browser_or_with_a_login(gallery):
    names = {result.title: result.name for result in gallery.results()}
    anna = Browser(gallery, LOCAL, "anna")
    answer = anna.delete(f"/multitalk/results/{names['Hello World']}")
    assert answer.status_code == 403
    assert "another browser" in answer.json()["detail"]
    assert (
        Browser(gallery, PRIVATE, "anna").delete(f"/multitalk/results/{names['Hello World']}").status_code
        == 404
    )
    deletable = {r["title"]: r["deletable"] for r in anna.get("/multitalk/results").json()["results"]}
    assert deletable == {"你好 Ünïted": True, "Hello World": False, "cli": False}
    elsewhere = anna.delete(
        f"/multitalk/results/{names['你好 Ünïted']}", headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert elsewhere.status_code == 403
    assert anna.get(f"/multitalk/posters/{names['你好 Ünïted']}").status_code == 200
    assert anna.delete(f"/multitalk/results/{names['你好 Ünïted']}").status_code == 200
    left = {path.name for path in gallery.folder.rglob("*") if path.is_file()}
    assert not any(names["你好 Ünïted"] in name for name in left)
    assert Browser(gallery, PUBLIC, "carl").delete(f"/multitalk/results/{names['cli']}").status_code == 200
    assert titles(anna) == ["Hello World"]
    assert anna.delete("/multitalk/results/..%2f..%2fetc").status_code == 404


def test_a_deleted_name_can_be_used_again(gallery, tmp_path):
    (mine,) = [result.name for result in gallery.results() if result.owner == owner("anna")]
    gallery.delete(mine)
    gallery.add(write_video(tmp_path / "v.mp4"), Path(mine).stem.removesuffix("-seed0"), 0)
    assert gallery.result(mine).owner == ""


@pytest.mark.parametrize("note", ["{", "[]", '{"owner": 3, "title": ["x"]}', "\udcff"])
def test_a_damaged_note_gives_a_result_without_owner(tmp_path, note):
    gallery = Gallery(tmp_path, 10**9)
    write_video(tmp_path / "v.mp4", seed=1)
    (tmp_path / ".notes").mkdir()
    (tmp_path / ".notes" / "v.mp4.json").write_bytes(note.encode("utf-8", "surrogateescape"))
    result = gallery.result("v.mp4")
    assert (result.owner, result.title) == ("", "v")


def test_results_beyond_localhost_are_private_unless_shared(monkeypatch):
    monkeypatch.delenv("SHARED_GALLERY", raising=False)
    assert read_sharing(login=False, is_local=True).shared
    assert not read_sharing(login=False, is_local=False).shared
    for value in ("true", "1"):
        monkeypatch.setenv("SHARED_GALLERY", value)
        assert read_sharing(login=False, is_local=False).shared
    monkeypatch.setenv("SHARED_GALLERY", "no")
    assert not read_sharing(login=False, is_local=True).shared
    monkeypatch.setenv("SHARED_GALLERY", "maybe")
    with pytest.raises(InvalidInput, match="SHARED_GALLERY"):
        read_sharing(login=False, is_local=True)


def test_the_cookie_is_not_written_to_disk(gallery):
    notes = [json.loads(path.read_text()) for path in (gallery.folder / ".notes").iterdir()]
    assert "anna" not in {note["owner"] for note in notes}
    assert len({note["owner"] for note in notes}) == 2
