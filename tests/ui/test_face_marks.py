"""The numbered faces in the image: a click, a tap or a key makes one of them a speaker."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.app import EXAMPLES
from tests.ui.groups import three_people
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import be_quick, bring_sound, choose, facts, make, wait_ready
from tests.ui.test_boxes import box_of, draw, place_of

pytestmark = pytest.mark.slow
NO_CHOICE = "Three faces found. Select the one that speaks. Without a choice, all of them may move."
CHOSEN = "Person 1 speaks. Everybody outside the box is silent."


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of three people."""
    path = tmp_path_factory.mktemp("group") / "three.png"
    three_people().save(path)
    return path


def marks(page: Page) -> Locator:
    return page.locator(".face-mark")


def names(page: Page) -> list[str]:
    return [str(mark.get_attribute("aria-label")) for mark in marks(page).all()]


def show(page: Page, picture: Path, count: int = 3) -> None:
    """Upload an image, and wait for its marks."""
    page.locator("#picture input[type=file]").set_input_files(picture)
    expect(marks(page)).to_have_count(count, timeout=150_000)
    page.locator(".people-stage").scroll_into_view_if_needed()


def select(page: Page, face: int) -> None:
    """Click a face, or tap it on a phone."""
    mark = page.get_by_role("button", name=f"Face {face}")
    if page.evaluate("matchMedia('(pointer: coarse)').matches"):
        mark.tap()
    else:
        mark.click()


def middle(page: Page, person: int) -> float:
    """Return where a person's box is, as a fraction of the image's width."""
    left, _, right, _ = place_of(page, person)
    return (left + right) / 2


def height(page: Page) -> float:
    return float(page.evaluate("document.querySelector('#boxes').getBoundingClientRect().height"))


@pytest.mark.parametrize("screen", SCREENS)
def test_one_of_three_faces_speaks(open_page, group, screen):
    page = open_page(**SCREENS[screen])
    show(page, group)
    expect(page.locator(".people-note")).to_have_text(NO_CHOICE)
    assert names(page) == [f"Face {number}: make it person 1" for number in (1, 2, 3)]
    places = [mark.bounding_box() for mark in marks(page).all()]
    assert [place["x"] for place in places] == sorted(place["x"] for place in places)
    before = height(page)
    select(page, 2)
    expect(page.locator(".people-note")).to_have_text(CHOSEN)
    assert names(page)[1] == "Face 2, person 1: remove the choice"
    assert middle(page, 1) == pytest.approx(0.5, abs=0.03)
    assert box_of(page, 2).is_hidden()
    assert height(page) == before, "nothing below moves"
    places += [mark.bounding_box() for mark in marks(page).all()]
    assert min(min(place["width"], place["height"]) for place in places) >= 24
    select(page, 3)
    assert place_of(page, 1)[0] > 0.5
    select(page, 3)
    expect(page.locator(".people-note")).to_have_text(NO_CHOICE)
    assert box_of(page, 1).is_hidden()
    page.get_by_role("button", name="Undo").click()
    assert place_of(page, 1)[0] > 0.5
    page.get_by_role("button", name="Find faces again").click()
    assert box_of(page, 1).is_hidden()


def test_the_video_has_the_chosen_face(open_page, app, group):
    page = open_page(**SCREENS[DESKTOP])
    show(page, group)
    mark = page.get_by_role("button", name="Face 2")
    mark.focus()
    page.keyboard.press("Enter")
    expect(mark).to_be_focused()
    page.keyboard.press("Space")
    expect(mark).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Space")
    expect(mark).to_have_attribute("aria-pressed", "true")
    chosen = place_of(page, 1)
    bring_sound(page, 1, "one_person.wav")
    page.reload()
    wait_ready(page)
    box_of(page, 1).wait_for()
    assert place_of(page, 1) == chosen, "the browser keeps the choice"
    be_quick(page, **{"Maximum seconds": "0.5"})
    settings = facts(app.outputs / make(page))["settings"]
    assert (settings["speaking"], list(settings["boxes"])) == (["person1"], ["person1"])
    width, tall = settings["image_size"]
    x0, y0, x1, y1 = settings["boxes"]["person1"]
    assert [x0 / width, y0 / tall, x1 / width, y1 / tall] == pytest.approx(chosen)
    page.get_by_role("button", name="Face 2").click()
    expect(page.locator(".people-note")).to_have_text(NO_CHOICE)
    page.locator(".job-again").click()
    box_of(page, 1).wait_for()
    assert place_of(page, 1) == chosen, "it is restored from the file"
    assert page.locator("#mode input:checked").get_attribute("value") == "one"


def test_two_speakers_are_chosen_one_after_the_other(open_page, group):
    page = open_page(**SCREENS[PHONE])
    show(page, group)
    choose(page, "Two in turns")
    box_of(page, 2).wait_for()
    proposed = [place_of(page, 1), place_of(page, 2)]
    select(page, 3)
    expect(page.locator(".people-note")).to_have_text(
        "Face 3 is person 1. The next face that you select is person 2."
    )
    select(page, 2)
    assert [middle(page, person) for person in (1, 2)] == pytest.approx([5 / 6, 0.5], abs=0.03)
    assert names(page)[1:] == ["Face 2, person 2: make it person 1", "Face 3, person 1: keep it"]
    select(page, 2)  # of the other speaker: they exchange their faces
    assert [middle(page, person) for person in (1, 2)] == pytest.approx([0.5, 5 / 6], abs=0.03)
    page.locator(".people-stage").scroll_into_view_if_needed()
    draw(page, 2, (0.7, 0.1), (0.95, 0.6))
    undo = page.get_by_role("button", name="Undo")
    while undo.is_enabled():
        undo.click()
    assert [place_of(page, 1), place_of(page, 2)] == proposed
    choose(page, "One person")
    expect(page.locator(".people-note")).to_have_text(NO_CHOICE)
    assert box_of(page, 1).is_hidden(), "nobody has chosen it"
    choose(page, "Two at once")
    box_of(page, 2).wait_for()
    assert [place_of(page, 1), place_of(page, 2)] == proposed


def test_one_found_face_is_no_choice(open_page):
    page = open_page()
    page.locator("#picture input[type=file]").set_input_files(EXAMPLES / "one_person.png")
    page.locator("#picture img").first.wait_for()
    choose(page, "Two in turns")
    box_of(page, 2).wait_for()
    page.get_by_role("button", name="Swap people").click()
    choose(page, "One person")
    page.locator("#boxes").wait_for(state="hidden")
    kept = "JSON.parse(localStorage.getItem('multitalk-form /')).boxes"
    page.wait_for_function(f"!({kept} || {{}}).person1")
    choose(page, "Two in turns")
    box_of(page, 1).get_by_text("Person 1 · right").wait_for()


def test_a_dialogue_of_three_has_three_boxes(open_page, app, group):
    page = open_page()
    show(page, group)
    choose(page, "Dialogue script")
    script = page.locator("#script textarea")
    script.fill("Anna: Hi.\nBen: Yes.")
    box_of(page, 2).wait_for()
    assert page.get_by_role("tab").count() == 2
    script.fill("Anna: Hi.\nBen: Yes.\nCleo: No.")
    page.get_by_role("tab", name="Person 3").click()
    page.get_by_label("Person 3: voice").wait_for()
    box_of(page, 3).wait_for()
    lefts = [place_of(page, person)[0] for person in (1, 2, 3)]
    assert lefts == sorted(lefts)
    assert names(page) == [
        "Face 1, person 1: keep it",
        "Face 2, person 2: make it person 1",
        "Face 3, person 3: make it person 1",
    ]
    be_quick(page, **{"Maximum seconds": "0.5"})
    page.locator("#custom-width input").fill("144")  # as wide as the image
    page.get_by_label("Audio scale of person 3").first.wait_for()
    settings = facts(app.outputs / make(page))["settings"]
    assert settings["speaking"] == list(settings["boxes"]) == ["person1", "person2", "person3"]
    assert page.get_by_text("trained with up to two people").first.is_visible()
    choose(page, "One person")
    page.get_by_role("tab", name="Person 3").wait_for(state="hidden")
    page.locator(".job-again").click()
    box_of(page, 3).wait_for()
    page.get_by_role("tab", name="Person 3").wait_for()
    assert [place_of(page, person)[0] for person in (1, 2, 3)] == lefts
    script.fill("(s1) Hi. (s3) Hi.")
    page.locator("#make").click()
    page.get_by_text("no (s2) in the script").wait_for()
