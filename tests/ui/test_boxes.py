"""The editor of the boxes, with a mouse at 1280x720 and with touch at 390x844."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from tests.ui.screens import PHONE, SCREENS
from tests.ui.steps import choose, example

pytestmark = pytest.mark.slow
Point = tuple[float, float]


@pytest.fixture(params=SCREENS)
def editor(request, open_page) -> Page:
    """The page with two people, scrolled so that the editor is in view."""
    page = open_page(**SCREENS[request.param])
    example(page, "Two in turns")
    box_of(page, 1).wait_for()
    page.locator(".people-stage").scroll_into_view_if_needed()
    return page


def box_of(page: Page, person: int) -> Locator:
    return page.locator(f".person-box[data-person=person{person}]")


def place_of(page: Page, person: int) -> list[float]:
    """Return a box's corners in fractions of the image."""
    return page.evaluate(
        """(person) => {
          const style = document.querySelector(`.person-box[data-person=person${person}]`).style;
          const names = ['left', 'top', 'width', 'height'];
          const [x, y, w, h] = names.map((name) => parseFloat(style[name]) / 100);
          return [x, y, x + w, y + h];
        }""",
        person,
    )


def at(page: Page, x: float, y: float) -> Point:
    """Return a point of the image in pixels of the viewport."""
    area = page.locator(".people-stage").bounding_box()
    return area["x"] + x * area["width"], area["y"] + y * area["height"]


def drag(page: Page, start: Point, end: Point) -> None:
    """Drag from one point of the image to another, with a finger on a phone."""
    here, there = at(page, *start), at(page, *end)
    if page.evaluate("matchMedia('(pointer: coarse)').matches"):
        swipe(page, here, there)
        return
    page.mouse.move(*here)
    page.mouse.down()
    page.mouse.move(*there, steps=8)
    page.mouse.up()


def swipe(page: Page, start: Point, end: Point, steps: int = 12) -> None:
    """Move a finger."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: Point) -> None:
        touches: list[dict[str, Any]] = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    send("touchStart", start)
    for step in range(1, steps + 1):
        part = step / steps
        send("touchMove", (start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])))
        page.wait_for_timeout(16)
    send("touchEnd")


def draw(page: Page, person: int, start: Point, end: Point) -> None:
    """Draw a person's box."""
    page.get_by_role("button", name=f"Draw person {person}").click()
    # the next touch must find the drawing area that is on the screen
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(300)
    drag(page, start, end)
    assert place_of(page, person) == pytest.approx([*start, *end], abs=0.02)


def test_a_box_is_drawn_over_another_one(editor):
    others = place_of(editor, 1)
    draw(editor, 2, (0.1, 0.2), (0.4, 0.8))
    assert place_of(editor, 2) == pytest.approx([0.1, 0.2, 0.4, 0.8], abs=0.02)
    assert place_of(editor, 1) == others
    pressed = editor.get_by_role("button", name="Draw person 2").get_attribute("aria-pressed")
    assert pressed == "false", "one box is drawn each time"


def test_without_draw_mode_a_drag_moves_a_box(editor):
    draw(editor, 1, (0.05, 0.3), (0.35, 0.9))
    before = place_of(editor, 1)
    drag(editor, (0.2, 0.6), (0.3, 0.5))
    moved = [before[0] + 0.1, before[1] - 0.1, before[2] + 0.1, before[3] - 0.1]
    assert place_of(editor, 1) == pytest.approx(moved, abs=0.02)
    others = place_of(editor, 2)
    drag(editor, (0.05, 0.1), (0.2, 0.3))  # free area
    assert place_of(editor, 1) == pytest.approx(moved, abs=0.02)
    assert place_of(editor, 2) == others


def test_undo_and_finding_the_faces_again(editor):
    undo = editor.get_by_role("button", name="Undo")
    found = [place_of(editor, 1), place_of(editor, 2)]
    assert undo.is_disabled()
    draw(editor, 1, (0.5, 0.4), (0.9, 0.9))
    drawn = place_of(editor, 1)
    editor.get_by_role("button", name="Swap people").click()
    undo.click()
    assert place_of(editor, 1) == drawn
    undo.click()
    assert [place_of(editor, 1), place_of(editor, 2)] == found
    assert undo.is_disabled()
    editor.get_by_role("button", name="Swap people").click()
    editor.get_by_role("button", name="Find faces again").click()
    editor.wait_for_function(
        f"parseFloat(document.querySelector('.person-box').style.left) / 100 === {found[0][0]}"
    )
    assert [place_of(editor, 1), place_of(editor, 2)] == found
    undo.click()
    assert [place_of(editor, 1), place_of(editor, 2)] == found[::-1]
    for mode in ("One person", "Two at once"):
        with editor.expect_response(lambda response: '"proposal"' in response.text()):
            choose(editor, mode)
    assert place_of(editor, 1) == found[1], "the boxes are kept"


def test_escape_leaves_draw_mode_and_control_z_undoes(open_page):
    page = open_page(**SCREENS["desktop"])
    example(page, "Two in turns")
    box = box_of(page, 1)
    box.wait_for()
    before = place_of(page, 1)
    page.get_by_role("button", name="Draw person 1").click()
    assert "opposite corner" in page.inner_text(".people-note")
    page.keyboard.press("Escape")
    drag(page, (0.3, 0.5), (0.3, 0.4))
    assert place_of(page, 1)[2:3] == before[2:3], "it was moved, not drawn"
    box.press("Shift+ArrowLeft")
    box.press("Control+z")
    assert place_of(page, 1) == before


def test_a_swipe_on_a_free_area_scrolls_the_page(open_page):
    page = open_page(**SCREENS[PHONE])
    example(page, "Two in turns")
    box_of(page, 1).wait_for()
    for person, box in ((1, (0.05, 0.5, 0.3, 0.9)), (2, (0.7, 0.5, 0.95, 0.9))):
        draw(page, person, box[:2], box[2:])
    before = [place_of(page, 1), place_of(page, 2)]
    page.wait_for_timeout(1000)  # not a double tap
    start = page.evaluate("scrollY")
    swipe(page, at(page, 0.5, 0.9), at(page, 0.5, 0.3))
    page.wait_for_function(f"scrollY > {start} + 80")
    assert [place_of(page, 1), place_of(page, 2)] == before
    swipe(page, at(page, 0.5, 0.3), at(page, 0.5, 0.9))
    page.wait_for_function(f"scrollY < {start} + 80")
    page.wait_for_timeout(1000)  # the page stops scrolling
    start = page.evaluate("scrollY")
    drag(page, (0.2, 0.7), (0.2, 0.5))  # on a box
    assert page.evaluate("scrollY") == start
    assert place_of(page, 1)[1] == pytest.approx(0.3, abs=0.03)


def test_names_are_shown_in_full(editor):
    def is_cut(person: int) -> bool:
        label = box_of(editor, person).locator(".person-name")
        return label.evaluate(
            "(node) => node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1"
        )

    for person, name in ((1, "left.wav"), (2, "right.wav")):
        box_of(editor, person).get_by_text(name).wait_for()
        assert not is_cut(person)
    draw(editor, 1, (0.05, 0.6), (0.2, 0.9))  # narrower than its name
    assert not is_cut(1)
