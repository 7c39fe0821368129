"""Every state of the page, and a picture of each: ``python -m tests.ui.states FOLDER``.

The pictures are of the whole page, in three sizes, light and dark.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from multitalk.weights.folders import EMBEDDED_FOLDER
from tests.ui.app import CHROMIUM, CHROMIUM_ARGS, EXAMPLES, App
from tests.ui.groups import three_people
from tests.ui.steps import (
    be_quick,
    cancel,
    choose,
    example,
    fill,
    wait_phase,
    wait_ready,
)

SIZES = {"1440": (1440, 900), "1280": (1280, 720), "390": (390, 844)}
SHORT, LONG = {"Maximum seconds": "0.8"}, {"Steps": "60", "Maximum seconds": "6"}
SCHEMES = ("light", "dark")


def states(browser: Browser, folder: Path, weights: Path) -> Iterator[tuple[str, Page]]:
    """Bring the page into one state after the other, and yield each with its name.

    Args:
        browser: Shows the page.
        folder: Folder of the servers' files.
        weights: A baked weights folder.
    """
    # asks before every video, to show the question
    with App(folder, MULTITALK_WEIGHTS=str(weights), ASK_ABOVE_MINUTES="0.00001") as app:
        app.wait_open().wait_loaded()
        page = _open(browser, app)
        yield from _forms(page, folder)
        other = _open(browser, app)
        example(other, "One person")
        be_quick(other, **SHORT)
        _make_a_result(other)
        yield from _jobs(page, other)
        yield from _losses(page, app)
        page.goto(f"{app.url}/multitalk/project/docs/PAGE.md")
        yield "document", page
        page.context.close()
        other.context.close()
    yield from _login(browser, folder)


def _open(browser: Browser, app: App) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(app.url)
    wait_ready(page)
    return page


def _forms(page: Page, folder: Path) -> Iterator[tuple[str, Page]]:
    yield "empty", page
    page.locator("#make").click()
    page.locator("#error-picture [role=alert]").wait_for()
    yield "error", page
    page.locator("#weights summary").click()
    page.locator(".loras summary").click()
    other = folder / "other.safetensors"
    other.write_bytes(b"no LoRA")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a LoRA").click()
    chooser.value.set_files(other)
    page.locator(".lora-error").wait_for()
    yield "loras", page
    page.locator("#weights summary").click()
    page.locator(".loras summary").click()
    example(page, "Dialogue script")
    page.locator("#person1-voice").wait_for()
    page.locator("#script textarea").fill("Anna: Hello.\nBen: Hi.\nCleo: Good morning.\nDan: Bye.")
    page.get_by_role("tab", name="Person 4").click()
    page.locator(".person-box[data-person=person4]").wait_for()
    yield "dialogue", page
    example(page, "Text to speech")
    page.locator("#person1-text textarea").wait_for()
    page.locator("#more > button").click()
    page.locator("#cache input").click()
    page.get_by_role("option", name="TeaCache").click()
    yield "settings", page
    page.locator("#more > button").click()
    example(page, "One person")
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    yield "filled", page
    group = folder / "group.png"
    three_people().save(group)
    page.locator("#picture input[type=file]").set_input_files(group)
    page.get_by_role("button", name="Face 2").click()
    yield "faces", page
    own = EXAMPLES / "two_people.png"
    page.locator("#picture input[type=file]").set_input_files(own)
    choose(page, "Two in turns")
    example(page, "Two in turns")
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    page.locator(".person-box:visible").first.wait_for()
    yield "two people", page


def _make_a_result(page: Page) -> None:
    page.locator("#make").click()
    page.get_by_role("button", name="Generate anyway").click()
    wait_phase(page, "done", seconds=600)


def _start(page: Page, *phases: str) -> None:
    page.locator("#make").click()
    page.get_by_role("button", name="Generate anyway").click()
    wait_phase(page, *phases)


def _jobs(page: Page, other: Page) -> Iterator[tuple[str, Page]]:
    be_quick(page, **LONG)
    page.locator("#more > button").click()
    page.locator("#make").click()
    page.locator(".question:not([hidden])").wait_for()
    yield "question", page
    fill(other, **LONG)
    _start(other, "running")
    page.get_by_role("button", name="Generate anyway").click()
    page.get_by_text("1 video is ahead of yours").wait_for()
    yield "waiting", page
    cancel(other)
    page.wait_for_selector(".job[data-phase=running]:not(.playing)")
    yield "running", page
    page.wait_for_selector(".job.playing[data-phase=running]", timeout=600_000)
    yield "clip", page
    cancel(page)
    wait_phase(page, "done")
    page.locator(".card").nth(1).wait_for()
    yield "result", page
    page.locator(".job-again").click()
    page.locator("#restored p").wait_for()
    page.locator(".card-delete").first.click()
    yield "gallery", page
    page.keyboard.press("Escape")


def _losses(page: Page, app: App) -> Iterator[tuple[str, Page]]:
    _start(page, "running")
    app.kill()
    page.wait_for_selector(".connection:not([hidden])")
    yield "lost connection", page
    page.evaluate("window.isOld = true")
    app.start_again()
    page.wait_for_function("!window.isOld", timeout=240_000)  # the page reloads itself for another server
    page.locator(".job-lost-again").wait_for(timeout=240_000)
    wait_ready(page)
    page.locator(".connection").wait_for(state="hidden")
    yield "lost job", page


def _login(browser: Browser, folder: Path) -> Iterator[tuple[str, Page]]:
    with App(folder, MULTITALK_WEIGHTS=str(folder / "none"), UI_USERNAME="anna", UI_PASSWORD="s3cret") as app:
        page = browser.new_page()
        page.goto(app.wait_open().url)
        yield "login", page
        page.get_by_label("Username").fill("anna")
        page.get_by_label("Password").fill("guess")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("The username or the password is wrong").wait_for()
        yield "wrong password", page
        page.close()


def main() -> None:
    """Save the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=EMBEDDED_FOLDER)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for state, page in states(browser, Path(name), options.weights):
            for size, (width, height) in SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                for scheme in SCHEMES:
                    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                    page.wait_for_timeout(400)  # the page follows the scheme
                    file = options.folder / f"{state.replace(' ', '-')}-{size}-{scheme}.png"
                    page.screenshot(path=file, full_page=True)
            page.set_viewport_size({"width": 1280, "height": 720})
            print(state, flush=True)
        browser.close()


if __name__ == "__main__":
    main()
