"""Overlapping calls: what a later one has set is not replaced by the late answer of an earlier one."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, Route

from tests.ui.app import EXAMPLES
from tests.ui.screens import SCREENS
from tests.ui.steps import choose, example, fill
from tests.ui.test_drops import drop
from tests.ui.test_gallery import write_video

pytestmark = pytest.mark.slow
CALLS = "**/run/predict"
STEPS = "input[aria-label='Steps']"


@pytest.fixture(params=SCREENS)
def page(request, open_page) -> Page:
    return open_page(**SCREENS[request.param])


def functions_of(page: Page, name: str) -> list[int]:
    """Return the numbers of the calls of a handler."""
    return page.evaluate(
        """(name) => gradio_config.dependencies
          .filter((each) => (each.api_name || '').replace(/_\\d+$/, '') === name).map((each) => each.id)""",
        name,
    )


def hold_first(page: Page, name: str) -> list[Route]:
    """Hold the first call of a handler back; the list then contains it."""
    numbers, held = functions_of(page, name), []
    assert numbers, name

    def route_call(route: Route) -> None:
        if not held and json.loads(route.request.post_data or "{}").get("fn_index") in numbers:
            held.append(route)
        else:
            route.continue_()

    page.route(CALLS, route_call)
    return held


def let_go(page: Page, held: list[Route]) -> None:
    """Answer the held call, and wait until the page has its answer."""
    with page.expect_response(lambda answer: answer.request == held[0].request):
        held[0].continue_()
    page.wait_for_timeout(500)


def wait_held(page: Page, held: list[Route]) -> None:
    for _ in range(100):
        if held:
            return
        page.wait_for_timeout(50)
    raise AssertionError("the page has not sent the call")


def test_the_later_example_wins(page):
    held = hold_first(page, "use_example")
    page.locator(".example[data-name='Text to speech']").click()
    wait_held(page, held)
    example(page, "Two in turns")
    page.locator(".person-name", has_text="right.wav").wait_for()
    let_go(page, held)
    assert page.locator("#mode .selected").inner_text() == "Two in turns"


def test_settings_restored_later_win_over_those_of_an_earlier_video(page, tmp_path):
    page.locator("#more > button").click()
    page.locator(STEPS).wait_for()
    held = hold_first(page, "restore_dropped")
    drop(page, write_video(tmp_path / "first.mp4", preset="demo", steps=3, seed=1))
    wait_held(page, held)
    drop(page, write_video(tmp_path / "second.mp4", preset="demo", steps=9, seed=2))
    page.wait_for_function("document.querySelector('#seed input').value === '2'")
    let_go(page, held)
    assert page.locator(STEPS).input_value() == "9"
    assert page.locator("#seed input").input_value() == "2"


def test_the_message_of_the_later_drop_stays(page, tmp_path):
    held = hold_first(page, "take_files")
    drop(page, EXAMPLES / "one_person.wav")
    wait_held(page, held)
    (tmp_path / "notes.txt").write_text("text")
    drop(page, tmp_path / "notes.txt")
    refusal = page.locator(".notice").get_by_text("notes.txt cannot be used")
    refusal.wait_for()
    let_go(page, held)
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    assert refusal.is_visible(), "the audio of the earlier drop is used, its message is too late"


def test_an_example_gives_what_it_shows(page):
    page.locator("#more > button").click()
    fill(page, Steps="17", **{"Maximum seconds": "1"})
    page.locator("#seed input").fill("7")
    page.locator("#seed input").blur()
    choose(page, "Text to speech")
    page.locator("#person1-voice input").fill("Alicia")
    page.get_by_role("option", name="Alicia, woman").click()
    example(page, "One person")
    page.locator(".notice").get_by_text(
        "Example: One person. Reset: Person 1: voice, Seed, Steps, Maximum seconds."
    ).wait_for()
    page.wait_for_function("document.querySelector(\"input[aria-label='Steps']\").value === '6'")
    assert page.locator("#seed input").input_value() == "42"
    assert page.locator("input[aria-label='Maximum seconds']").input_value() == "0"
    page.locator(".notice").get_by_role("button", name="Close").click()
    example(page, "Text to speech")
    page.locator("#person1-text textarea").wait_for()
    page.wait_for_timeout(300)
    assert page.locator("#person1-voice input").input_value() == "Automatic"
    assert not page.locator(".notice").is_visible(), "nothing was reset"


def test_moved_boxes_are_those_of_the_example_again(page):
    example(page, "Two in turns")
    box = page.locator(".person-box[data-person=person1]")
    box.wait_for()
    place = box.get_attribute("style")
    box.press("Shift+ArrowLeft")
    assert box.get_attribute("style") != place
    page.locator(".example[data-name='Two in turns']").click()
    page.wait_for_function(
        "(place) => document.querySelector('.person-box[data-person=person1]').style.cssText === place",
        arg=place,
    )
