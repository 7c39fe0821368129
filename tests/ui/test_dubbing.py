"""A new voice for an existing video, with small weights that contain InfiniteTalk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.ui import fields, form_errors
from multitalk.weights.folders import AUDIO_LAYERS_FOLDER
from multitalk.weights.manifest import Manifest, make_manifest
from tests.ui.app import App
from tests.ui.requests import no_lora
from tests.ui.screens import SCREENS
from tests.ui.steps import bring, bring_sound, facts, fill, make, wait_ready, wait_state
from tests.ui.test_behind import FORM, no_voice


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
@pytest.mark.parametrize("screen", SCREENS)
def test_a_video_is_dubbed(screen: str, browser: Browser, dubbing_app: App, tmp_path: Path) -> None:
    with browser.new_context(**SCREENS[screen]) as context:
        page: Page = context.new_page()
        page.goto(dubbing_app.url)
        wait_state(page, "ready")
        page.locator("#dubbing > button").click()
        page.locator("#video input[type=file]").set_input_files(write_video(tmp_path / "talk.mp4"))
        page.locator("#picture img[src*='file=']").wait_for()
        page.get_by_label("As long as the video").check()
        bring_sound(page, 1, "one_person.wav")
        page.locator("#size input").click()
        page.get_by_role("option", name="Custom height and width").click()
        page.locator("#custom-height input").fill("64")
        page.locator("#custom-width input").fill("96")
        page.locator("#more > button").click()
        fill(page, Steps="1", **{"Frames per clip": "21", "Motion frames": "5"})
        result = facts(dubbing_app.outputs / make(page))
        assert result["frames"] == 20
        assert (result["settings"]["model"], result["settings"]["dub"]) == ("infinitetalk", "free")
        assert result["settings"]["color_correction"] == 0, "the default for a video"
        # another image replaces the video
        page.locator("#video [aria-label='talk.mp4']").wait_for()
        bring(page, "one_person.png")
        page.locator("#video [aria-label='talk.mp4']").wait_for(state="detached")


@pytest.mark.slow
def test_the_example_video_is_dubbed_with_the_demo_weights(open_page, app: App) -> None:
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
    form |= {"dub": "exact", "length": "video", "source_volume": 0.25}
    request = fields.request_from_form(form, no_voice, no_lora)
    assert (request.image, request.video.frames) == (None, 20)
    assert (request.dub, request.length, request.source_volume) == ("exact", "video", 0.25)
    form["video"] = str(tmp_path / "missing.mp4")
    with pytest.raises(InvalidInput) as error:
        fields.request_from_form(form, no_voice, no_lora)
    assert form_errors.place_of(error.value, form) == "picture"
