"""Actions of a user on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
from playwright.sync_api import Page

from tests.ui.app import EXAMPLES, START_SECONDS

# a clip takes seconds, so that the page, which polls, shows each of them
SLOW = {"Steps": "100"}
FAST = {"Steps": "2", "Frames per clip": "21", "Motion frames": "5"}


def be_quick(page: Page, **more: str) -> None:
    """Set the fastest settings: 64x64 pixels, two steps, clips of 21 frames."""
    page.locator("#size input").click()
    page.get_by_role("option", name="Custom height and width").click()
    page.locator("#custom-height input").fill("64")
    page.locator("#custom-width input").fill("64")
    page.locator("#more > button").click()
    fill(page, **(FAST | more))


def fill(page: Page, **values: str) -> None:
    """Fill in number fields by their labels."""
    for label, value in values.items():
        field = page.locator(f"input[aria-label='{label}']")
        field.fill(value)
        field.blur()


def cancel(page: Page) -> None:
    """Cancel the job that is shown."""
    page.locator(".job-cancel").click()


def see_a_clip(page: Page) -> None:
    """Wait until the first clips play while the next ones are generated."""
    page.wait_for_selector(".job.playing[data-phase=running]", timeout=120_000)


def bring(page: Page, picture: str, *sounds: str) -> None:
    """Upload an image, and an audio file for each person."""
    page.locator("#picture input[type=file]").set_input_files(EXAMPLES / picture)
    for number, sound in enumerate(sounds, 1):
        bring_sound(page, number, sound)


def bring_sound(page: Page, number: int, sound: str) -> None:
    """Upload a person's audio by clicking the field."""
    if number == 2:
        page.get_by_role("tab", name="Person 2").click()
    with page.expect_file_chooser() as chooser:
        page.locator(f"#person{number}-sound .upload-container").click()
    chooser.value.set_files(EXAMPLES / sound)
    page.locator(f"#person{number}-sound").get_by_label("Play", exact=True).wait_for()


def choose(page: Page, name: str) -> None:
    """Select in a segmented control."""
    page.locator(".segments label:visible", has_text=name).click()


def example(page: Page, name: str) -> None:
    page.locator(f".example[data-name='{name}']").click()
    # for two people, the editor of the boxes replaces the image
    page.locator("#picture img[src*='file=']:visible, .people-picture[src]:visible").first.wait_for()


def wait_state(page: Page, *states: str) -> None:
    """Wait for a state of the models, such as "ready" or "failed"."""
    selector = ",".join(f".status[data-state={state}]" for state in states)
    page.wait_for_selector(selector, timeout=START_SECONDS * 1000)


def wait_ready(page: Page) -> None:
    """Wait until the page shows the presets of the loaded models."""
    page.wait_for_selector("#make")
    wait_state(page, "ready", "failed")
    assert page.get_attribute(".status", "data-state") == "ready", page.inner_text(".status")
    page.locator("#preset").get_by_text("Demo").first.wait_for(timeout=START_SECONDS * 1000)


def wait_phase(page: Page, *phases: str, seconds: float = 120) -> str:
    selector = ",".join(f".job[data-phase={phase}]" for phase in phases)
    page.wait_for_selector(selector, timeout=seconds * 1000)
    return str(page.get_attribute(".job", "data-phase"))


def make(page: Page) -> str:
    """Generate a video; return its file name."""
    # distinguishes this job's end from an earlier one's
    page.evaluate("document.querySelector('.job').dataset.phase = 'asked'")
    page.locator("#make").click()
    assert wait_phase(page, "done", "failed") == "done", page.inner_text(".job")
    return str(page.get_attribute(".job", "data-result"))


def facts(path: Path) -> dict[str, Any]:
    """Return a file's number of frames, whether it has audio, and its settings."""
    with av.open(str(path)) as file:
        settings = json.loads(file.metadata["comment"])
        sounds = bool(file.streams.audio)
        frames = sum(1 for _ in file.decode(video=0))
    return {"frames": frames, "sounds": sounds, "settings": settings}


def error_at(page: Page, place: str) -> str:
    return page.locator(f"#error-{place} [role=alert]").inner_text()
