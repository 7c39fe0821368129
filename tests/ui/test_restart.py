"""Nothing is lost: the form, waiting jobs and lost jobs survive a reload and a restart of the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.app import App
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import be_quick, bring, bring_sound, choose, fill, wait_phase, wait_ready

pytestmark = pytest.mark.slow
LOST = ".connection:not([hidden])"
STEPS = "input[aria-label='Steps']"


@pytest.fixture(scope="module")
def own_app(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app that the tests may kill."""
    with App(tmp_path_factory.mktemp("restarted"), MULTITALK_WEIGHTS=str(weights)) as app:
        yield app.wait_open().wait_loaded()


@pytest.fixture
def page(browser: Browser, own_app: App) -> Iterator[Page]:
    context = browser.new_context(**SCREENS[PHONE])
    page = context.new_page()
    page.goto(own_app.url)
    wait_ready(page)
    yield page
    context.close()


def fill_in(page: Page) -> None:
    """Set a field of each kind: files, text, choices, numbers and boxes."""
    bring(page, "two_people.png")
    choose(page, "Two in turns")
    bring_sound(page, 2, "one_person.wav")
    page.get_by_role("tab", name="Person 1").click()
    choose(page, "Text to speech")
    page.locator("#person1-text textarea").fill("Grüße, hello!")
    be_quick(page, Steps="7")
    page.locator("#prompt textarea").fill("Two friends")
    box = page.locator(".person-box[data-person=person1]")
    box.press("Shift+ArrowLeft")


def state_of(page: Page) -> dict[str, Any]:
    """Return what the form shows."""
    page.locator("#person1-text textarea").wait_for()
    page.wait_for_function("document.querySelector('#person1-text textarea').value")
    page.locator(".people-picture[src]").wait_for()
    page.locator(".person-name", has_text="one_person.wav").wait_for()
    if not page.locator(STEPS).is_visible():
        page.locator("#more > button").click()  # closed after a reload
    page.locator(STEPS).wait_for()
    return page.evaluate(
        """(steps) => ({
          mode: document.querySelector('#mode .selected').innerText,
          text: document.querySelector('#person1-text textarea').value,
          steps: document.querySelector(steps).value,
          height: document.querySelector('#custom-height input').value,
          prompt: document.querySelector('#prompt textarea').value,
          box: document.querySelector('.person-box').style.cssText,
          names: [...document.querySelectorAll('.person-name')].map((node) => node.textContent),
        })""",
        STEPS,
    )


def test_a_reload_keeps_the_form(page):
    fill_in(page)
    before = state_of(page)
    assert (before["steps"], before["height"]) == ("7", "64")
    assert "one_person.wav" in before["names"][1]
    page.reload()
    wait_ready(page)
    assert state_of(page) == before


def test_a_crash_of_the_server_loses_nothing(page, own_app):
    fill_in(page)
    fill(page, Steps="100", **{"Maximum seconds": "2"})
    before = state_of(page)
    press_make(page)
    page.wait_for_selector(".job[data-phase=running]")
    fill(page, Steps="2")
    page.get_by_role("button", name="Generate another").click()
    page.get_by_text("1 video is ahead of yours").wait_for()  # the server has the job
    own_app.kill()
    page.wait_for_selector(LOST)
    assert "Connection to the server lost" in page.inner_text(".connection")
    page.locator("#prompt textarea").fill("Written meanwhile")
    fill(page, Steps="9")
    own_app.start_again()
    page.locator(".job-lost-again").wait_for(timeout=240_000)
    assert "The server stopped while this video was generated." in page.inner_text(".job")
    wait_ready(page)
    expect(page.locator(".job-lost-again")).to_be_in_viewport()
    page.locator(".connection").wait_for(state="hidden")  # the message goes by itself
    assert state_of(page) == before | {"prompt": "Written meanwhile", "steps": "9"}
    waiting = page.locator(".job-other")
    waiting.get_by_text("Your video is ready.").wait_for(timeout=240_000)
    page.locator(".job-lost-again").click()
    page.wait_for_selector(".job[data-phase=running]")
    assert not page.locator(".job-lost").is_visible()
    page.reload()
    page.wait_for_selector(".job[data-phase=running]")
    assert wait_phase(page, "done", "failed", seconds=240) == "done"


def press_make(page: Page) -> None:
    page.locator("#make").click()


def test_a_job_that_the_server_no_longer_has_is_reported(browser, own_app):
    context = browser.new_context(**SCREENS[DESKTOP])
    page = context.new_page()
    page.goto(own_app.url)
    wait_ready(page)
    fill_in(page)
    fill(page, Steps="100")
    press_make(page)
    page.wait_for_selector(".job[data-phase=running]")
    own_app.kill()
    shutil.rmtree(own_app.outputs / ".jobs")  # like a replaced container
    own_app.start_again()
    page.get_by_text("The server was restarted and no longer has it.").wait_for(timeout=240_000)
    page.locator("#person1-text textarea").wait_for()
    context.close()
