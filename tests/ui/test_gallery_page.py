"""The results on the page: search, deletion, whose videos, and the video on hover."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from multitalk.ui.access import COOKIE
from multitalk.ui.result_notes import NOTES, Note, write_note
from tests.ui.app import App
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import wait_ready
from tests.ui.test_gallery import write_video
from tests.ui.test_sharing import owner

pytestmark = pytest.mark.slow
MINE = "你好，世界"
Show = Callable[[str], Page]


@pytest.fixture
def show(open_page, app: App) -> Iterator[Show]:
    """Show the page with a result of its browser and one of another browser."""
    written: list[str] = []
    pages: list[Page] = []

    def add(title: str, browser: str, name: str) -> None:
        written.append(name)
        write_note(app.outputs, name, Note(owner(browser), title))
        write_video(app.outputs / name, frames=50, seed=1)

    def show_on(screen: str) -> Page:
        page = open_page(**SCREENS[screen])
        pages.append(page)
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        add("Good morning", "somebody else", f"theirs-{screen}.mp4")
        add(MINE, cookies[COOKIE], f"mine-{screen}.mp4")
        page.reload()
        wait_ready(page)
        mine = card(page, f"mine-{screen}")
        mine.scroll_into_view_if_needed()
        # a thumbnail that is deleted while it loads would be an error
        page.wait_for_function("(image) => image.complete", arg=mine.locator("img").element_handle())
        return page

    yield show_on
    for page in pages:
        page.context.close()  # it may still load what is deleted now
    for name in written:
        (app.outputs / name).unlink(missing_ok=True)
        (app.outputs / NOTES / f"{name}.json").unlink(missing_ok=True)


def card(page: Page, name: str):
    return page.locator(f".card[data-name='{name}.mp4']")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_result_is_deleted_after_a_question(show, app, screen):
    page = show(screen)
    mine, theirs = card(page, f"mine-{screen}"), card(page, f"theirs-{screen}")
    assert mine.get_by_text(MINE).is_visible()
    assert theirs.locator(".card-delete").count() == 0
    mine.locator(".card-show").hover()
    mine.locator(".card-delete").click()
    mine.get_by_role("button", name="Keep").click()
    assert (app.outputs / f"mine-{screen}.mp4").exists()
    mine.locator(".card-delete").click()
    mine.get_by_role("button", name="Delete", exact=True).click()
    mine.wait_for(state="detached")
    assert not (app.outputs / f"mine-{screen}.mp4").exists()
    assert theirs.is_visible()


def test_results_are_searched_and_chosen_by_browser(show):
    page = show(PHONE)
    mine, theirs = card(page, f"mine-{PHONE}"), card(page, f"theirs-{PHONE}")
    page.get_by_role("searchbox", name="Search titles").fill("世界")
    theirs.wait_for(state="detached")
    assert mine.is_visible()
    page.get_by_role("searchbox").fill("no such title")
    page.get_by_text("No video has “no such title” in its title.").wait_for()
    page.get_by_role("searchbox").fill("")
    theirs.wait_for()
    page.get_by_role("button", name="Mine").click()
    theirs.wait_for(state="detached")
    assert mine.is_visible()
    page.get_by_role("button", name="Everybody's").click()
    theirs.wait_for()


def test_a_result_plays_under_the_mouse(show):
    page = show(DESKTOP)
    mine = card(page, f"mine-{DESKTOP}")
    mine.hover()
    page.wait_for_function(
        "(name) => document.querySelector(`.card[data-name='${name}'] video`)?.currentTime > 0.2",
        arg=f"mine-{DESKTOP}.mp4",
    )
    page.mouse.move(2, 2)
    mine.locator("video").wait_for(state="detached")


def test_a_deleted_result_leaves_the_player(show):
    page = show(PHONE)
    mine = card(page, f"mine-{PHONE}")
    mine.locator(".card-show").tap()
    page.locator(f".job[data-phase=done][data-result='mine-{PHONE}.mp4']").wait_for()
    mine.locator(".card-delete").tap()
    mine.get_by_role("button", name="Delete", exact=True).tap()
    page.locator(".job[data-phase=empty]").wait_for()
