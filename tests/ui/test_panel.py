"""The answer to the press: the panel is in view, the button shows the progress, one press makes one job."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page

from tests.ui.app import ARTIFACTS
from tests.ui.steps import SLOW, be_quick, bring, cancel, error_at, example, see_a_clip, wait_phase

pytestmark = pytest.mark.slow
DESKTOP = {"viewport": {"width": 1280, "height": 720}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCREENS = pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
SHORT = {"Maximum seconds": "1.5"}
JOBS = re.compile(r"/multitalk/jobs/(\w+)$")


def jobs_of(page: Page) -> set[str]:
    """Return a set that receives the id of every job that the page polls."""
    jobs: set[str] = set()

    def note(request) -> None:
        if found := JOBS.search(request.url):
            jobs.add(found[1])

    page.on("request", note)
    return jobs


def visible(page: Page, selector: str) -> bool:
    """Return whether an element is completely inside the viewport, and not behind the button's bar."""
    return bool(
        page.evaluate(
            """(selector) => {
              const box = document.querySelector(selector).getBoundingClientRect();
              const bar = document.querySelector('#make-bar');
              const isFixed = getComputedStyle(bar).position === 'fixed' && !bar.querySelector(selector);
              const bottom = isFixed ? bar.getBoundingClientRect().top : innerHeight;
              return box.height > 0 && box.top >= 0 && box.bottom <= bottom + 1;
            }""",
            selector,
        )
    )


def wait_visible(page: Page, selector: str) -> None:
    """Wait until scrolling has ended with an element in the viewport."""
    for _ in range(50):
        if visible(page, selector):
            return
        page.wait_for_timeout(100)
    raise AssertionError(page.locator(selector).bounding_box())


@SCREENS
def test_the_panel_is_in_view_from_the_press_to_the_result(screen, open_page):
    page = open_page(**screen)
    example(page, "One person")
    be_quick(page, **SHORT, **SLOW)
    page.locator("#size").scroll_into_view_if_needed()
    assert visible(page, "#make"), "the button is within reach wherever the page is scrolled"
    page.locator("#make").click()
    wait_phase(page, "waiting", "running")
    wait_visible(page, ".job")
    page.locator("#make", has_text="Generating").wait_for()
    assert page.locator("#make").is_disabled()
    assert re.fullmatch(r"Generating: \d+ %", page.inner_text("#make").strip())
    page.wait_for_function("/^\\d+ % · MultiTalk$/.test(document.title)")
    wait_phase(page, "done", "failed")
    wait_visible(page, ".job")
    assert visible(page, ".job-download")
    assert page.inner_text("#make").strip() == "Generate video"
    assert page.title() == "Ready · MultiTalk"
    name = "panel-phone" if screen is PHONE else "panel-desktop"
    page.screenshot(path=ARTIFACTS / f"{name}.png")


@SCREENS
def test_picture_voice_and_button_are_on_the_first_screen(screen, open_page):
    page = open_page(**screen)
    assert visible(page, "#make")
    assert visible(page, "#picture")
    if screen is DESKTOP:
        assert page.evaluate(
            """() => document.querySelector('#person1-sound').getBoundingClientRect().bottom
                 <= document.querySelector('#make').getBoundingClientRect().top"""
        )


def test_a_double_click_makes_one_job(open_page):
    page = open_page(**DESKTOP)
    jobs = jobs_of(page)
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").dblclick()
    page.wait_for_selector(".job[data-phase=running]")
    page.wait_for_timeout(1000)  # long enough for an unwanted job
    assert len(jobs) == 1
    assert not page.locator(".job-other").is_visible()
    page.locator(".make-another").dblclick()
    page.locator("#make", has_text="Waiting: 1 before you").wait_for()
    page.wait_for_timeout(1000)
    assert len(jobs) == 2, "another job is made on purpose"
    cancel(page)
    page.locator(".job-other button").click()
    page.wait_for_selector(".job[data-phase=running]")
    cancel(page)
    page.locator("#make:enabled", has_text="Generate video").wait_for()


def test_a_refused_press_frees_the_button_and_the_panel(open_page):
    page = open_page(**PHONE)
    page.locator("#make").tap()
    page.locator("#error-picture [role=alert]").wait_for()
    assert "Image is missing" in error_at(page, "picture")
    wait_visible(page, "#error-picture")
    page.locator("#make:enabled").wait_for()
    assert page.get_attribute(".job", "data-phase") == "empty"


def test_a_press_without_a_connection_frees_the_button(browser, app):
    page = browser.new_page()
    page.goto(app.url)
    page.wait_for_selector(".status[data-state=ready]")
    page.route("**/run/**", lambda route: route.abort(), times=1)  # Gradio loads the page again
    page.locator("#make").click()
    page.locator("#make:enabled", has_text="Generate video").wait_for()
    page.close()


def test_the_button_shows_a_job_after_a_reload(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").click()
    page.locator("#make", has_text="Generating").wait_for()
    page.reload()
    page.locator("#make", has_text="Generating").wait_for()
    cancel(page)
    page.locator("#make:enabled").wait_for()


def test_a_new_video_clears_what_was_said_of_the_one_before(open_page):
    page = open_page(**PHONE)
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").click()
    see_a_clip(page)
    cancel(page)
    page.get_by_text("Stopped early: this is the finished part.").wait_for()
    page.locator(".job-again").click()
    page.locator("#restored li").get_by_text("in the form: kept from before").wait_for()
    page.locator("#make").click()
    wait_phase(page, "running")
    page.locator("#restored p").wait_for(state="hidden")
    if not page.locator(".job.playing").count():
        assert page.inner_text(".job-note") == ""


def test_nothing_moves_for_people_who_do_not_want_that(open_page):
    page = open_page(reduced_motion="reduce")
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").click()
    wait_phase(page, "running")
    assert page.evaluate("document.getAnimations().length") == 0
    cancel(page)
