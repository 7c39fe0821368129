"""A video is continued on the page: a result, or any other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from multitalk.errors import InvalidInput
from multitalk.marks.tags import GENERATED
from multitalk.media.source_video import read_video
from multitalk.ui import fields, form_errors
from multitalk.ui.job_store import JobRecord, JobStore
from tests.ui.app import App
from tests.ui.requests import no_lora
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import be_quick, bring, bring_sound, example, facts, make, wait_ready
from tests.ui.test_behind import FORM, no_voice
from tests.ui.test_dubbing import write_video


@pytest.mark.slow
def test_a_result_is_continued(browser: Browser, app: App) -> None:
    with browser.new_context(**SCREENS[DESKTOP]) as context:
        page: Page = context.new_page()
        page.goto(app.url)
        wait_ready(page)
        bring(page, "one_person.png", "one_person.wav")
        be_quick(page, **{"Maximum seconds": "0.8"})
        first = make(page)
        assert facts(app.outputs / first)["frames"] == 20
        with page.expect_download() as download:
            page.locator(".job-frame").click()
        assert download.value.suggested_filename == first.replace(".mp4", ".png")
        frame = np.asarray(Image.open(download.value.path()))
        assert np.array_equal(frame, np.asarray(read_video(app.outputs / first).last_picture))
        page.locator(".job-continue").click()
        page.locator("#continue-from").get_by_text(first.removesuffix(".mp4"), exact=True).wait_for()
        assert page.locator("#join").is_visible(), "the section is open"
        page.wait_for_function(
            "document.querySelector(\"#picture img\")?.src.includes('.png') && "
            "!document.querySelector(\"#picture img\").src.includes('one_person')"
        )
        # its voice would say the same again
        hint = page.locator("#error-script [role=status]")
        assert hint.inner_text() == "Add the voice of the next part."
        page.locator("#person1-sound .upload-container").wait_for()
        bring_sound(page, 1, "one_person.wav")
        hint.wait_for(state="detached")
        joined = make(page)
        title = page.locator(f".card[data-name='{joined}'] .card-title")
        assert title.inner_text() == "one_person (continued)"
        result = facts(app.outputs / joined)
        assert (result["frames"], result["settings"]["join"]) == (40, True)
        # after a reload, the section is still open; the new part alone
        page.reload()
        wait_ready(page)
        page.get_by_label("Start with that video").uncheck()
        assert facts(app.outputs / make(page))["frames"] == 20
        # an image replaces the video
        page.locator("#picture").get_by_label("Remove Image").click()
        bring(page, "one_person.png")
        page.locator("#continue-from").wait_for(state="hidden")  # the empty group is folded
        page.locator("#continuing > button").click()
        page.locator("#continue-from .upload-container, #continue-from button.center").first.wait_for()


@pytest.mark.slow
def test_another_video_is_continued(browser: Browser, app: App, tmp_path: Path) -> None:
    with browser.new_context(**SCREENS[PHONE]) as context:
        page: Page = context.new_page()
        page.goto(app.url)
        wait_ready(page)
        page.locator("#continuing > button").click()
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(b"no video")
        page.locator("#continue-from input[type=file]").set_input_files(broken)
        error = page.locator("#error-picture [role=alert]")
        error.wait_for()
        assert error.inner_text().startswith("Video to continue (broken.mp4) cannot be read as a video.")
        assert page.locator("#join").is_visible(), "the group stays open"
        page.locator("#continue-from input[type=file]").set_input_files(write_video(tmp_path / "talk.mp4"))
        page.locator("#picture img[src*='file=']").wait_for()
        bring_sound(page, 1, "one_person.wav")
        be_quick(page, **{"Maximum seconds": "0.4"})
        assert facts(app.outputs / make(page))["frames"] == 30
        assert page.locator("#join").is_visible()
        example(page, "One person")
        page.locator("#join").wait_for(state="hidden")


def form_with(path: Path, **values: Any) -> dict[str, Any]:
    return FORM | {"picture": "", "continue_from": str(path), "join": True, **values}


def test_the_forms_fields(tmp_path: Path) -> None:
    path = write_video(tmp_path / "talk.mp4")
    request = fields.request_from_form(form_with(path, motion_frames=5, join=False), no_voice, no_lora)
    assert request.continue_from is not None
    assert (request.continue_from.frames, request.join, request.image) == (20, False, None)
    with pytest.raises(InvalidInput, match="continues from 9") as caught:
        fields.request_from_form(form_with(write_short(tmp_path / "short.mp4")), no_voice, no_lora)
    form = form_with(path)
    assert form_errors.place_of(caught.value, form) == "picture"
    assert form_errors.page_message(caught.value, form).startswith("Video to continue is too short: it has 5")


def write_short(path: Path) -> Path:
    from multitalk.media.video import VideoWriter

    with VideoWriter(path, 64, 64) as writer:
        writer.write(np.zeros((5, 64, 64, 3), np.uint8))
    return path


def test_a_waiting_job_keeps_its_video(tmp_path: Path) -> None:
    request = fields.request_from_form(
        form_with(write_video(tmp_path / "talk.mp4"), motion_frames=5), no_voice, no_lora
    )
    store = JobStore(tmp_path / "jobs")
    record = JobRecord("a" * 32, "title", "owner")
    store.add(record, request, {})
    (tmp_path / "talk.mp4").unlink()
    stored = store.request(record.id)
    assert stored.continue_from is not None
    assert (stored.continue_from.frames, stored.motion_frames, stored.image) == (20, 5, None)


@pytest.mark.slow
def test_a_last_frame_is_an_image(app: App, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        assert page.request.get(f"{app.url}/multitalk/last-frames/none.mp4").status == 404
        name = next(path.name for path in app.outputs.glob("*.mp4"))
        answer = page.request.get(f"{app.url}/multitalk/last-frames/{name}")
        assert answer.headers["content-type"] == "image/png"
        with av.open(str(app.outputs / name)) as file:
            last = list(file.decode(video=0))[-1]
        picture = Image.open(io.BytesIO(answer.body()))
        assert picture.size == (last.width, last.height)
        assert GENERATED in picture.info["XML:com.adobe.xmp"]
