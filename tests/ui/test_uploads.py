"""Limits of uploads: sentences, room for others and for results, and no half-written files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from multitalk.ui.uploaded_files import IN_USE_SECONDS, MIN_SIZE, FileOwners, NoRoom, UploadLimits
from multitalk.ui.uploads import MAX_BODY, UNREADABLE, BodyLimit
from tests.ui.app import EXAMPLES, App
from tests.waiting import wait_until

MB = 10**6
LIMITS = UploadLimits(total=5 * MB, per_browser=2 * MB, keep_free=0)


def stored(
    folder: Path, owners: FileOwners, name: str, size: int, browser: str = "a", age: float = 0
) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    owners.add(str(path), browser)
    owners._files[str(path)].added -= age
    return path


def test_a_browser_has_a_limit(tmp_path):
    owners = FileOwners(LIMITS)
    stored(tmp_path, owners, "one", 1_500_000)
    owners.check_room("a", 400_000, tmp_path)
    with pytest.raises(NoRoom, match=r"Your uploads exceed 0\.002 GB\. .*try again") as error:
        owners.check_room("a", 600_000, tmp_path)
    assert error.value.status == 413
    owners.check_room("b", 600_000, tmp_path)


def test_all_browsers_have_a_limit(tmp_path):
    owners = FileOwners(LIMITS)
    for browser in "abc":
        stored(tmp_path, owners, browser, 1_500_000, browser)
    with pytest.raises(NoRoom, match="server is full") as error:
        owners.check_room("d", 600_000, tmp_path)
    assert error.value.status == 507


def test_space_is_kept_free_for_results(tmp_path, monkeypatch):
    owners = FileOwners(UploadLimits(keep_free=1 * MB))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3 * MB))
    owners.check_room("a", 2 * MB, tmp_path)
    with pytest.raises(NoRoom, match="almost full") as error:
        owners.check_room("a", 2 * MB + 1, tmp_path)
    assert error.value.status == 507


def test_uploads_in_progress_count_until_they_end(tmp_path):
    owners = FileOwners(LIMITS)
    with owners.receiving("a", tmp_path) as admit:
        admit(1_000_000)
        with owners.receiving("a", tmp_path) as admit_other:
            admit_other(900_000)
            with pytest.raises(NoRoom):
                admit(200_000)
    owners.check_room("a", 1_900_000, tmp_path)


def test_old_files_make_room_and_younger_ones_stay(tmp_path):
    owners = FileOwners(LIMITS)
    old = stored(tmp_path, owners, "old", 900_000, age=IN_USE_SECONDS + 20)
    less_old = stored(tmp_path, owners, "less old", 500_000, age=IN_USE_SECONDS + 10)
    young = stored(tmp_path, owners, "young", 500_000)
    foreign = stored(tmp_path, owners, "foreign", 500_000, "b", age=IN_USE_SECONDS + 30)
    owners.check_room("a", 600_000, tmp_path)
    assert [path.exists() for path in (old, less_old, young, foreign)] == [False, True, True, True]
    assert not owners.has(str(old), "a")
    owners.add(str(foreign), "a")  # both browsers have uploaded it
    owners._files[str(foreign)].added = time.time() - IN_USE_SECONDS - 1
    with pytest.raises(NoRoom):
        owners.check_room("a", 1_100_000, tmp_path)
    assert foreign.exists()


def test_files_are_deleted_after_a_day(tmp_path):
    owners = FileOwners()
    old = stored(tmp_path, owners, "old", 1000, age=24 * 3600 + 1)
    young = stored(tmp_path, owners, "young", 1000, age=24 * 3600 - 60)
    folder = tmp_path / "folder"
    folder.mkdir()
    owners.add(str(folder), "a")
    owners._files[str(folder)].added = 0
    owners.delete_old()
    assert (old.exists(), young.exists(), owners.has(str(old), "a")) == (False, True, False)


def test_files_that_are_gone_are_forgotten(tmp_path):
    owners = FileOwners(LIMITS)
    for number in range(4):
        stored(tmp_path, owners, str(number), 500_000).unlink()
    owners.check_room("a", 1_900_000, tmp_path)
    assert owners._files == {}


def test_empty_files_count(tmp_path):
    owners = FileOwners(LIMITS)
    for number in range(int(LIMITS.per_browser) // MIN_SIZE):
        stored(tmp_path, owners, str(number), 0)
    with pytest.raises(NoRoom):
        owners.check_room("a", MIN_SIZE, tmp_path)


@pytest.mark.parametrize("declared", [True, False])
def test_other_requests_have_small_bodies(declared):
    received: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            received.append(len(message["body"]))

    async def receive() -> Any:
        return {"type": "http.request", "body": bytes(MB), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(MAX_BODY + 1).encode())] if declared else []
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/queue/join", "headers": headers}
    asyncio.run(BodyLimit(app)(scope, receive, send))
    assert sum(received) == (0 if declared else MAX_BODY)
    assert [message["status"] for message in sent[:1]] == ([413] if declared else [])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app without models that takes 3 MB of a browser."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "tmp").mkdir()
    limits = {"UPLOAD_LIMIT_PER_BROWSER_GB": "0.003", "UPLOAD_LIMIT_GB": "1", "TMPDIR": str(folder / "tmp")}
    with App(folder, MULTITALK_WEIGHTS=str(folder / "none"), **limits) as app:
        yield app.wait_open().wait_loaded()


def files_of(app: App) -> list[str]:
    """Return the files in the folder of uploads, but for what Gradio makes for itself."""
    (folder,) = app.log.with_name("tmp").glob("multitalk-page-*/uploads")
    return sorted(
        name
        for _, _, names in os.walk(folder)  # unlike rglob, it ignores folders that are deleted meanwhile
        for name in names
        if name != "vibe_edit_history"
    )


def folders_of(app: App) -> list[str]:
    (folder,) = app.log.with_name("tmp").glob("multitalk-page-*/uploads")
    return [path.name for path in folder.iterdir() if path.name.startswith("incoming")]


def upload(
    client: httpx.Client, size: int, name: str = "files", path: str = "/gradio_api/upload"
) -> httpx.Response:
    return client.post(path, files={name: ("a.bin", os.urandom(size))})


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload/"])
def test_an_upload_above_the_limit_is_refused_and_leaves_nothing(small, path):
    with small.client() as client:
        (first,) = upload(client, MB, path=path).json()
        assert Path(first).stat().st_size == MB
        before = files_of(small)
        answer = upload(client, 3 * MB, path=path)
        assert (answer.status_code, answer.text) == (
            413,
            "Your uploads exceed 0.003 GB. Use smaller files, or try again in an hour.",
        )
        chunks = (bytes(100_000) for _ in range(40))
        form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        answer = client.post(
            path,
            content=(part for parts in ([form], chunks) for part in parts),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert answer.status_code == 413, "the length was not declared"
        assert files_of(small) == before
        assert folders_of(small) == []
    with small.client() as other:
        assert upload(other, MB, path=path).status_code == 200


@pytest.mark.slow
def test_an_upload_that_breaks_off_leaves_nothing(small):
    before = files_of(small)
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + bytes(500_000)
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with contextlib.closing(socket.create_connection(("127.0.0.1", small.port))) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: len(files_of(small)) > len(before), what="the half-written file")
    wait_until(lambda: files_of(small) == before and folders_of(small) == [], what="its end")
    assert "Traceback" not in small.log.read_text()


@pytest.mark.slow
def test_the_same_file_twice_in_one_upload(small):
    same = ("files", ("a.png", b"same"))
    with small.client() as client:
        answer = client.post("/gradio_api/upload", files=[same, same])
    assert answer.status_code == 200, answer.text
    first, second = answer.json()
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", ["other", "files"])
def test_forms_that_gradio_does_not_expect_leave_nothing(small, name):
    before = files_of(small)
    with small.client() as client:
        if name == "other":
            assert upload(client, 1000, name).json() == []
        else:
            answer = client.post("/gradio_api/upload", files={"files": (None, b"no file")})
            assert (answer.status_code, answer.text) == (400, UNREADABLE)
            assert client.post("/gradio_api/upload", data={"files": "x"}).status_code == 400
            headers = {"Content-Type": "multipart/form-data"}
            assert client.post("/gradio_api/upload", content=b"x", headers=headers).status_code == 400
    assert files_of(small) == before
    assert folders_of(small) == []


FORM_PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n123\r\n'


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?upload_id=u1"])
@pytest.mark.parametrize(
    ("content", "boundary"),
    [
        (b"", "x"),
        (b"--x", "x"),
        (FORM_PART[:-3], "x"),
        (FORM_PART, "x"),
        (FORM_PART + FORM_PART[:-4], "x"),
        (FORM_PART + b"--x-", "x"),
        (FORM_PART + b"--x--", "b" * 5000),
        (FORM_PART.replace(b"form-data;", b"form-data; " + b"h" * 9000) + b"--x--", "x"),
        (FORM_PART.replace(b"Content-Disposition", b"Content\xffDisposition") + b"--x--", "x"),
        (b"--" + b"b" * 5000 + FORM_PART[3:] + b"--" + b"b" * 5000 + b"--", "b" * 5000),
    ],
    ids=[
        *("empty", "start", "cut", "whole part", "second cut", "cut end", "long boundary", "long header"),
        *("no header", "long everywhere"),
    ],
)
def test_an_incomplete_or_unreadable_form_is_refused(small, content, boundary, query):
    before = files_of(small)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with small.client() as client:
        answer = client.post(f"/gradio_api/upload{query}", content=content, headers=headers)
        assert (answer.status_code, answer.text) == (400, UNREADABLE)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = client.post("/gradio_api/upload", content=FORM_PART + b"--x--", headers=headers)
        assert answer.status_code == 200, "a form may end without a line break"
    assert [path for path in files_of(small) if path not in before] in ([], ["a"])
    assert folders_of(small) == []
    assert "Traceback" not in small.log.read_text()


@pytest.mark.slow
def test_the_page_shows_why_an_upload_is_refused(small, browser, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes((EXAMPLES / "one_person.png").read_bytes() + bytes(4 * MB))
    page = browser.new_page()
    page.goto(small.url)
    page.wait_for_selector("#make")
    page.locator("#picture input[type=file]").set_input_files(large)
    page.get_by_text("Your uploads exceed 0.003 GB").first.wait_for()
    page.screenshot(path=tmp_path / "refused.png")
    page.close()
