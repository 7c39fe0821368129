"""A new voice for an existing video, with small weights that contain InfiniteTalk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page

from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.ui import fields, form_errors
from multitalk.weights.folders import AUDIO_LAYERS_FOLDER
from multitalk.weights.manifest import Manifest, make_manifest
from tests.ui.app import EXAMPLES, App
from tests.ui.requests import no_lora
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import bring, bring_sound, facts, fill, make, wait_ready, wait_state
from tests.ui.test_behind import FORM, no_voice
from tests.ui.test_drops import drop_on


def write_video(path: Path) -> Path:
    """Write 20 frames of 64x96 pixels with a tone; the left half is red."""
    tone = Sound(0.2 * np.sin(np.arange(12_800)[:, None] / 9).astype(np.float32), 16_000)
    frames = np.zeros((20, 64, 96, 3), np.uint8)
    frames[:, :, :48] = (220, 20, 20)
    with VideoWriter(path, 96, 64, sound=tone) as writer:
        writer.write(frames)
    return path


@pytest.fixture(scope="module")
def dubbing_app(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with App(tmp_path_factory.mktemp("app"), MULTITALK_WEIGHTS=str(baked)) as app:
        yield app.wait_open().wait_loaded()


@pytest.mark.slow
def test_a_video_is_composite(browser: Browser, dubbing_app: App, tmp_path: Path) -> None:
    with browser.new_context(**SCREENS[PHONE]) as context:
        page: Page = context.new_page()
        page.goto(dubbing_app.url)
        wait_state(page, "ready")
        page.locator("#dubbing > button").click()
        page.locator("#video input[type=file]").set_input_files(write_video(tmp_path / "talk.mp4"))
        page.locator("#picture img[src*='file=']").wait_for()
        file_shown(page, "talk").wait_for()
        page.get_by_label("As long as the video").check()
        bring_sound(page, 1, "one_person.wav")
        small_settings(page)
        result = facts(dubbing_app.outputs / make(page))
        assert result["frames"] == 20
        assert (result["settings"]["model"], result["settings"]["dub"]) == ("infinitetalk", "free")
        assert result["settings"]["color_correction"] == 0, "the default for a video"
        # another image replaces the video
        page.locator("#video [aria-label='talk.mp4']").wait_for()
        bring(page, "one_person.png")
        file_shown(page, "talk").wait_for(state="detached")


def file_shown(page: Page, stem: str) -> Locator:
    """The name of the video in its field, where the ending is an element of its own."""
    return page.locator("#video").get_by_text(stem, exact=True)


def small_settings(page: Page) -> None:
    """Set a size of 64x96 pixels, one step, and clips of 21 frames."""
    page.locator("#size input").click()
    page.get_by_role("option", name="Custom height and width").click()
    page.locator("#custom-height input").fill("64")
    page.locator("#custom-width input").fill("96")
    page.locator("#more > button").click()
    fill(page, Steps="1", **{"Frames per clip": "21", "Motion frames": "5"})


@pytest.mark.slow
def test_a_video_on_the_image_is_composite_and_compared(
    browser: Browser, dubbing_app: App, tmp_path: Path
) -> None:
    with browser.new_context(**SCREENS[DESKTOP]) as context:
        page: Page = context.new_page()
        page.goto(dubbing_app.url)
        wait_state(page, "ready")
        page.locator("#dubbing").wait_for()
        assert not page.locator("#video").is_visible()
        talk = write_video(tmp_path / "talk.mp4")
        drop_on(page, "#picture", talk)
        page.locator(".notice").get_by_text("Video to dub: talk.mp4.").wait_for()
        page.locator("#picture img[src*='file=']").wait_for()
        file_shown(page, "talk").wait_for()
        assert page.locator("#scenes").is_visible(), "the section is open"
        # an image that is dropped anywhere replaces the video, and a chosen video replaces the image
        drop_on(page, "body", EXAMPLES / "one_person.png")
        file_shown(page, "talk").wait_for(state="detached")
        page.get_by_label("Remove Image").click()
        with page.expect_file_chooser() as chooser:
            page.locator("#picture button.upload-container").click()
        assert "video/*" in str(chooser.value.element.get_attribute("accept"))
        chooser.value.set_files(write_video(tmp_path / "other.mp4"))
        file_shown(page, "other").wait_for()
        bring_sound(page, 1, "one_person.wav")
        page.get_by_label("As long as the video").check()
        page.get_by_label("Start a clip at each cut").check()
        small_settings(page)
        result = facts(dubbing_app.outputs / make(page))
        assert (result["frames"], result["settings"]["scenes"]) == (20, True)
        compare_with_original(page)
        page.reload()
        wait_state(page, "ready")
        page.locator(".job[data-phase=done]").wait_for()
        file_shown(page, "other").wait_for()
        compare_with_original(page)
        name = str(page.get_attribute(".job", "data-result"))
    with browser.new_context(**SCREENS[DESKTOP]) as context:
        page = context.new_page()
        page.goto(dubbing_app.url)
        wait_state(page, "ready")
        answer = page.request.get(f"{dubbing_app.url}/multitalk/sources/{name}")
        assert answer.status == 404, "uploads are private to their browser"
        page.locator(f".card[data-name='{name}'] .card-show").click()
        page.locator(".job[data-phase=done]").wait_for()
        assert not page.locator(".job-compare").is_visible()


def compare_with_original(page: Page) -> None:
    """Show the original beside the result, and play both."""
    button, original = page.locator(".job-compare"), page.locator(".job-source")
    button.wait_for()
    assert not original.is_visible()
    button.click()
    original.wait_for()
    page.wait_for_function("document.querySelector('.job-source').readyState >= 2")
    left, right = original.bounding_box(), page.locator(".job-player").bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] <= right["x"] + 1
    assert abs(left["width"] - right["width"]) <= 1
    times = page.evaluate(
        """async () => {
          const [player, source] = ['.job-player', '.job-source'].map((name) => document.querySelector(name));
          player.muted = true;
          player.currentTime = 0.4;
          await player.play();
          await new Promise((resolve) => { player.onended = resolve; });
          await new Promise((resolve) => { setTimeout(resolve, 300); });
          return [player.currentTime, source.currentTime, source.paused, source.muted];
        }"""
    )
    assert times[0] == pytest.approx(0.8, abs=0.05)
    assert times[1] == pytest.approx(times[0], abs=0.1)
    assert times[2:] == [True, True]
    button.click()
    original.wait_for(state="hidden")
    assert page.locator(".job-source[src]").count() == 0


@pytest.mark.slow
def test_the_example_video_is_composite_with_the_demo_weights(open_page, app: App) -> None:
    page: Page = open_page()
    page.locator("#dubbing > button").click()
    page.locator("#video-example").click()
    page.locator("#picture img[src*='file=']").wait_for()
    page.locator("#video [aria-label='talking.mp4']").wait_for()
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    page.locator(".picture-notice").wait_for(state="detached")  # the video is drawn
    page.get_by_label("Exact").check()
    page.locator("#more > button").click()
    fill(page, Steps="2", **{"Maximum seconds": "0.5"})
    result = facts(app.outputs / make(page))
    assert (result["frames"], result["sounds"]) == (13, True)
    settings = result["settings"]
    assert (settings["model"], settings["dub"], settings["preset"]) == ("infinitetalk", "exact", "demo")


@pytest.fixture
def without_infinitetalk(weights: Path, tmp_path: Path) -> Path:
    """The demo weights without InfiniteTalk's audio layers."""
    folder = shutil.copytree(
        weights, tmp_path / "weights", ignore=shutil.ignore_patterns(AUDIO_LAYERS_FOLDER)
    )
    manifest = Manifest.read(folder)
    make_manifest(folder, manifest.name, manifest.default_preset, manifest.precision)
    return folder


@pytest.mark.slow
def test_without_infinitetalk_there_is_no_video(
    browser: Browser, without_infinitetalk: Path, tmp_path: Path
) -> None:
    with App(tmp_path, MULTITALK_WEIGHTS=str(without_infinitetalk)) as app:
        app.wait_open().wait_loaded()
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(app.url)
            wait_ready(page)
            assert not page.locator("#dubbing").is_visible()
            drop_on(page, "#picture", write_video(tmp_path / "talk.mp4"))
            page.locator(".notice").get_by_text("these weights cannot dub a video").wait_for()
            page.locator("#picture input[type=file]").set_input_files(tmp_path / "talk.mp4")
            page.locator(".notice").get_by_text("these weights cannot dub a video").wait_for()
            assert not page.locator("#picture img[src*='file=']").count()


@pytest.mark.slow
def test_a_file_that_is_no_video(browser: Browser, dubbing_app: App, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    with browser.new_context(**SCREENS["desktop"]) as context:
        page = context.new_page()
        page.goto(dubbing_app.url)
        wait_state(page, "ready")
        page.locator("#dubbing > button").click()
        page.locator("#video input[type=file]").set_input_files(tmp_path / "notes.mp4")
        page.locator("#error-picture").get_by_text("Video (notes.mp4) cannot be read as a video.").wait_for()


def test_the_request_of_a_form_with_a_video(tmp_path: Path) -> None:
    form = FORM | {"picture": None, "video": str(write_video(tmp_path / "talk.mp4"))}
    form |= {"dub": "exact", "length": "video", "source_volume": 0.25, "scenes": True}
    request = fields.request_from_form(form, no_voice, no_lora)
    assert (request.image, request.video.frames) == (None, 20)
    assert (request.dub, request.length, request.source_volume) == ("exact", "video", 0.25)
    assert request.scenes
    form["video"] = str(tmp_path / "missing.mp4")
    with pytest.raises(InvalidInput) as error:
        fields.request_from_form(form, no_voice, no_lora)
    assert form_errors.place_of(error.value, form) == "picture"
