"""Files that are dropped anywhere on the page, and errors in the page's words."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.ui import drops
from multitalk.ui.form_errors import with_labels
from tests.ui.app import EXAMPLES
from tests.ui.screens import DESKTOP, SCREENS
from tests.ui.steps import choose
from tests.ui.test_gallery import write_video

TYPES = {".png": "image/png", ".wav": "audio/wav", ".mp4": "video/mp4", ".txt": "text/plain"}
REPLACED = {"video": None, "continue_from": None}
FIRST = {"person1_source": "sound"}


def drop(page: Page, *files: Path) -> None:
    """Drop files in the middle of the window."""
    drop_on(page, None, *files)


def drop_on(page: Page, selector: str | None, *files: Path) -> None:
    """Drop files on an element; None: in the middle of the window."""
    contents = [
        [file.name, TYPES[file.suffix], base64.b64encode(file.read_bytes()).decode()] for file in files
    ]
    page.evaluate(
        """async ([selector, contents]) => {
          const dataTransfer = new DataTransfer();
          for (const [name, type, data] of contents) {
            const bytes = await (await fetch(`data:${type};base64,${data}`)).blob();
            dataTransfer.items.add(new File([bytes], name, { type }));
          }
          const target = selector ? document.querySelector(selector)
            : document.elementFromPoint(innerWidth / 2, innerHeight / 2);
          for (const kind of ['dragenter', 'dragover', 'drop']) {
            target.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
          }
        }""",
        [selector, contents],
    )


@pytest.fixture
def page(open_page) -> Page:
    """The page, scrolled to its end."""
    page = open_page(**SCREENS[DESKTOP])
    page.mouse.move(100, 300)
    page.mouse.wheel(0, 5000)
    page.wait_for_function("scrollY > 50")
    return page


@pytest.mark.slow
def test_files_dropped_anywhere_go_to_their_fields(page):
    drop(page, EXAMPLES / "two_people.png", EXAMPLES / "left.wav", EXAMPLES / "right.wav")
    notice = page.locator(".notice")
    notice.get_by_text("Image: two_people.png. Audio of person 1: left.wav. Audio of person 2").wait_for()
    page.locator(".person-name", has_text="right.wav").wait_for()
    assert page.locator("#mode .selected").inner_text() == "Two in turns"
    notice.get_by_role("button", name="Close").click()
    page.get_by_role("tab", name="Person 2").click()
    page.locator("#person2-sound").scroll_into_view_if_needed()
    drop(page, EXAMPLES / "one_person.wav")
    page.locator(".person-name", has_text="one_person.wav").wait_for()
    assert page.locator(".person-name", has_text="left.wav").count() == 1
    assert not page.locator("body.dropping").count()


@pytest.mark.slow
def test_a_dropped_video_gives_its_settings_or_its_audio(page, tmp_path):
    result = write_video(tmp_path / "result.mp4", preset="demo", seed=77, prompt="Restored")
    drop(page, result)
    page.locator("#restored").get_by_text("result.mp4: settings restored.").wait_for()
    page.locator("#more > button").click()
    page.wait_for_function("document.querySelector('#seed input')?.value === '77'")
    tone = Sound(0.3 * np.sin(np.arange(32_000)[:, None] / 20).astype(np.float32), 16_000)
    with VideoWriter(tmp_path / "clip.mp4", 64, 64, sound=tone) as writer:
        writer.write(np.zeros((50, 64, 64, 3), np.uint8))
    choose(page, "Text to speech")
    drop(page, tmp_path / "clip.mp4")
    page.locator(".notice").get_by_text("Audio of person 1: clip.mp4.").wait_for()
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    silent = write_video(tmp_path / "silent.mp4")
    drop(page, silent)
    page.locator(".notice").get_by_text("no audio track").wait_for()
    (tmp_path / "notes.txt").write_text("text")
    drop(page, tmp_path / "notes.txt")
    page.locator(".notice").get_by_text("notes.txt cannot be used. Drop an image, audio, a video").wait_for()


@pytest.mark.slow
def test_restored_settings_are_confirmed_beside_the_button(open_page, app):
    name = "zz-restored.mp4"
    write_video(app.outputs / name, preset="demo", seed=78)
    page = open_page(**SCREENS["desktop"])
    card = page.locator(f".card[data-name='{name}']")
    card.scroll_into_view_if_needed()
    card.locator(".card-show").click()
    page.locator(".job-again").click()
    message = page.locator("#restored").get_by_text("Settings restored.")
    message.wait_for()
    button, told = page.locator(".job-again").bounding_box(), message.bounding_box()
    assert 0 < told["y"] - button["y"] < 200
    (app.outputs / name).unlink()


def file(kind: str, name: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "path": f"/up/{name}"}


@pytest.mark.parametrize(
    ("mode", "person", "files", "expected"),
    [
        ("one", "person2", [file("sound", "a")], FIRST | {"person1_sound": "/up/a"}),
        ("in_order", "person2", [file("sound", "a")], {"person2_source": "sound", "person2_sound": "/up/a"}),
        ("script", "person1", [file("video", "v")], FIRST | {"mode": "one", "person1_sound": "wav"}),
        ("one", "person1", [file("picture", "p"), file("picture", "q")], {"picture": "/up/p"} | REPLACED),
        ("one", None, "nonsense", {}),
        ("one", 3, [None, {"kind": "sound"}, {"kind": "sound", "name": "a", "path": 3}], {}),
    ],
)  # fmt: skip
def test_fields_of_dropped_files(mode, person, files, expected):
    values, _ = drops.dropped_values(files, person, mode, lambda path: "wav")
    assert values == expected


def test_a_video_on_the_image_is_to_be_dubbed():
    files = [file("sound", "a"), file("picture", "p"), file("video", "v"), file("video", "w")]
    values, message = drops.dropped_values(files, "person1", "one", str, lambda path: f"{path}.png")
    assert (values["video"], values["picture"], values["person1_sound"]) == ("/up/v", "/up/v.png", "/up/a")
    assert message == "Video to dub: v. Audio of person 1: a. Other files are not used."


def test_files_without_a_field_are_mentioned():
    _, message = drops.dropped_values([file("picture", "p"), file("picture", "q")], "person1", "one", str)
    assert message == "Image: p. Other files are not used."


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("speech.text must be text, not 3.", "Text must be text, not 3."),
        ("speech must contain words to say, not '...'.", "Text must contain words to say, not '...'."),
        ("speech voice of person1 is empty.", "Voice of person 1 is empty."),
        ("speech language 'x' is not available in kokoro.", "Language 'x' is not available in kokoro."),
        ("speech speed must be from 0.5 to 2.", "Speech speed must be from 0.5 to 2."),
    ],
)
def test_errors_name_the_labels_of_the_page(error, shown):
    assert with_labels(error) == shown
