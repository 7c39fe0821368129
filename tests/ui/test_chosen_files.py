"""Files that are chosen for a field: what is refused or fails is said in the page's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.ui.uploads import MAX_FILE
from tests.media.heic_files import heic
from tests.ui.app import EXAMPLES, App
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import wait_ready
from tests.ui.test_drops import drop

pytestmark = pytest.mark.slow


@pytest.fixture
def page(open_page) -> Page:
    return open_page(**SCREENS[PHONE])


def choose_picture(page: Page, file: Path) -> None:
    page.locator("#picture input[type=file]").set_input_files(file)


def choose_by(selector: str) -> Callable[[Page, Path], None]:
    def choose(page: Page, file: Path) -> None:
        with page.expect_file_chooser() as chooser:
            page.locator(selector).click()
        chooser.value.set_files(file)

    return choose


SOUND = choose_by("#person1-sound .upload-container")
FIELDS = {
    "image": (choose_picture, "Image: notes.txt is not an image. Use a PNG, JPEG, WebP or HEIC file."),
    "sound": (SOUND, "Audio of person 1: notes.txt is not audio. Use a WAV, MP3, M4A, FLAC or OGG file"),
    "track": (choose_by("#person1-track"), "Audio of person 1: notes.txt is not a video. Use an MP4"),
    "result": (choose_by("#restore"), "Results: notes.txt is not a generated video. Use an MP4"),
}


def says(page: Page, words: str) -> None:
    page.locator("#drops .notice").get_by_text(words).wait_for()
    assert not page.locator(".toast-body").count(), "nothing is said twice"


def test_a_file_of_another_type_is_refused_in_the_words_of_the_page(page, tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    for choose, words in FIELDS.values():
        choose(page, tmp_path / "notes.txt")
        says(page, words)
    choose_picture(page, EXAMPLES / "one_person.png")
    page.locator("#picture img[src*='file=']").wait_for()
    page.locator("#drops .notice").wait_for(state="hidden")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(page, tmp_path):
    with (tmp_path / "long.wav").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    sent = []
    page.on("request", lambda request: sent.append(request.url) if "/upload" in request.url else None)
    SOUND(page, tmp_path / "long.wav")
    says(page, "Audio of person 1: long.wav is larger than 500 MB. Use a smaller file.")
    assert sent == []


@pytest.fixture(scope="module")
def full_app(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app on a disk that is almost full."""
    folder = tmp_path_factory.mktemp("full")
    with App(folder, MULTITALK_WEIGHTS=str(weights), UPLOAD_KEEP_FREE_GB="1000000") as app:
        yield app.wait_open().wait_loaded()


def test_a_failed_upload_is_said(browser, full_app):
    context = browser.new_context(**SCREENS[DESKTOP])  # its console may contain errors: failed requests
    page = context.new_page()
    page.goto(full_app.url)
    wait_ready(page)
    SOUND(page, EXAMPLES / "one_person.wav")
    says(
        page, "one_person.wav could not be uploaded. The disk of this server is almost full. Try again later."
    )
    page.locator("#drops .notice button").click()
    drop(page, EXAMPLES / "one_person.png")
    says(page, "one_person.png could not be uploaded. The disk of this server is almost full.")
    context.set_offline(True)
    SOUND(page, EXAMPLES / "left.wav")
    says(page, "left.wav could not be uploaded. The server is not answering. Try again when it answers.")
    context.close()


def test_files_that_gradio_would_refuse_are_taken(page, tmp_path):
    """A browser may know no type for HEIC, and a video is no audio for it."""
    photo = tmp_path / "photo.heic"
    photo.write_bytes(heic(np.full((64, 64, 3), 128, np.uint8)))
    choose_picture(page, photo)
    page.locator("#picture img[src*='file=']").wait_for()
    tone = Sound(0.3 * np.sin(np.arange(32_000)[:, None] / 20).astype(np.float32), 16_000)
    metadata = {"title": "MultiTalk", "comment": '{"preset": "demo"}'}
    with VideoWriter(tmp_path / "clip.mp4", 64, 64, sound=tone, metadata=metadata) as writer:
        writer.write(np.zeros((50, 64, 64, 3), np.uint8))
    SOUND(page, tmp_path / "clip.mp4")
    says(page, "Audio of person 1: clip.mp4.")
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
