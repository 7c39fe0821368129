"""What the page says about a video's origin: one message, which starts with the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from multitalk.errors import InvalidInput
from multitalk.marks.watermark import Watermark
from multitalk.media.video import VideoWriter
from multitalk.ui.file_origin import NO_MARKS, read_facts
from tests.marks.clips import talking
from tests.marks.video_files import reencode, signed_video, write_video
from tests.ui.conftest import Open
from tests.ui.screens import PHONE, SCREENS
from tests.ui.steps import example, wait_ready
from tests.ui.test_drops import drop

FIELD = "#restore input[type=file]"
NUMBER = 1234567


def watermarked(path: Path) -> Path:
    """A video of this project after another program has encoded it again: the watermark is left."""
    with VideoWriter(path, 384, 384) as writer:
        writer.write(Watermark(NUMBER).embed(talking(10)))
    return path


def test_a_file_says_what_it_contains(tmp_path: Path) -> None:
    signed = signed_video(tmp_path / "signed.mp4")
    facts = read_facts(signed, "signed.mp4")
    assert facts.settings == {"seed": 3, "preset": "demo"}
    assert facts.seconds == pytest.approx(1.0, abs=0.1)
    assert facts.origin.startswith("Content Credentials: made by AI with MultiTalk")
    assert facts.without_settings == f"{facts.origin} No settings to restore."
    plain = read_facts(reencode(signed, tmp_path / "plain.mp4"), "plain.mp4")
    assert (plain.settings, plain.without_settings) == ({}, NO_MARKS)
    marked = read_facts(watermarked(tmp_path / "marked.mp4"), "marked.mp4")
    assert marked.without_settings == (
        f"made with MultiTalk, according to its watermark (number {NUMBER}). No Content Credentials, and no "
        "settings to restore."
    )
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(InvalidInput, match="cannot be read as a video"):
        read_facts(tmp_path / "text.mp4", "text.mp4")


@pytest.fixture
def page(open_page: Open) -> Page:
    return open_page(**SCREENS[PHONE])


@pytest.mark.slow
def test_a_file_without_settings_is_no_error(page: Page, tmp_path: Path) -> None:
    message = page.locator("#restored-file")
    page.locator(FIELD).set_input_files(watermarked(tmp_path / "marked.mp4"))
    expect(message).to_contain_text(
        f"marked.mp4: made with MultiTalk, according to its watermark (number {NUMBER})"
    )
    expect(message.get_by_role("alert")).to_have_count(0)
    page.locator(FIELD).set_input_files(reencode(write_video(tmp_path / "a.mp4"), tmp_path / "plain.mp4"))
    expect(message).to_have_text(f"plain.mp4: {NO_MARKS}")
    expect(message.get_by_role("alert")).to_have_count(0)
    (tmp_path / "text.mp4").write_text("text")
    page.locator(FIELD).set_input_files(tmp_path / "text.mp4")
    expect(message.get_by_role("alert")).to_contain_text("text.mp4 cannot be read as a video.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_every_message_replaces_the_one_before(page: Page, tmp_path: Path, app: object) -> None:
    beside, below = page.locator("#restored"), page.locator("#restored-file")
    first = write_video(tmp_path / "first.mp4")
    page.locator(FIELD).set_input_files(first)
    expect(below.locator("p")).to_have_text("first.mp4: settings restored.")
    page.mouse.move(100, 300)
    page.mouse.wheel(0, 9000)
    drop(page, signed_video(tmp_path / "second.mp4"))
    expect(beside.locator("p")).to_have_text("second.mp4: settings restored.")
    expect(beside.locator("p")).to_be_in_viewport()
    expect(beside).to_contain_text("Content Credentials: made by AI with MultiTalk")
    expect(below.locator("p")).to_have_count(0)
    expect(page.locator(".notice")).to_be_hidden()
    page.locator(FIELD).set_input_files(first)
    expect(below.locator("p")).to_have_text("first.mp4: settings restored.")
    expect(beside.locator("p")).to_have_count(0)
    example(page, "One person")
    expect(below.locator("p")).to_have_count(0)


@pytest.mark.slow
def test_a_result_says_the_same_as_its_file(page: Page, app: object, tmp_path: Path) -> None:
    name = "zz-origin.mp4"
    path = app.outputs / name  # type: ignore[attr-defined]
    signed_video(path)
    page.locator(FIELD).set_input_files(path)
    below = page.locator("#restored-file")
    expect(below.locator("p")).to_have_text(f"{name}: settings restored.")
    origin = below.locator("li").last.inner_text()
    page.reload()
    wait_ready(page)
    page.locator(f".card[data-name='{name}'] .card-show").click()
    page.locator(".job-again").click()
    beside = page.locator("#restored")
    expect(beside.locator("p")).to_have_text("“zz origin”: settings restored.")
    expect(beside.locator("li").last).to_have_text(origin)
    path.unlink()
    page.locator(".job-again").click()
    expect(beside.get_by_role("alert")).to_have_text("The video was deleted.")


@pytest.mark.slow
def test_each_field_says_what_its_video_is_for(page: Page) -> None:
    for group in ("#dubbing", "#continuing"):
        page.locator(f"{group} > button").click()
    for field, purpose in {
        "#video": "to dub",
        "#continue-from": "to continue",
        "#restore": "to see its origin and restore its settings,",
    }.items():
        words = f"Drop a video {purpose} or click to choose a file"
        button = page.locator(field).get_by_role("button", name=words)
        button.scroll_into_view_if_needed()
        assert " ".join(button.inner_text().split()) == words
        outer, inner = (place.bounding_box() for place in (button, button.get_by_test_id("upload-text")))
        assert outer["y"] <= inner["y"]
        assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
