"""The page before a video is generated: fields, errors, presets and boxes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Request, Route

from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from tests.ui.app import EXAMPLES, HeldApp
from tests.ui.steps import be_quick, bring, choose, error_at, example, fill, wait_ready, wait_state

pytestmark = pytest.mark.slow


@pytest.fixture
def held_app(weights: Path, tmp_path: Path) -> Iterator[HeldApp]:
    app = HeldApp(tmp_path, MULTITALK_WEIGHTS=str(weights))
    try:
        yield app.wait_open()
    finally:
        app.stop()


def test_fields_set_while_models_load_are_kept(browser, held_app):
    page = browser.new_page()
    page.goto(held_app.url)
    wait_state(page, "loading")
    page.locator("#more > button").click()
    fill(page, **{"Steps": "17", "Text guidance": "3"})
    wait_state(page, "loading")
    held_app.go_on()
    wait_ready(page)
    page.wait_for_function("document.querySelector(\"input[aria-label='Shift']\").value === '3'")
    values = [
        page.locator(f"input[aria-label='{name}']").input_value() for name in ("Steps", "Text guidance")
    ]
    assert values == ["17", "3"]
    page.close()


def test_the_page_works_while_models_load(browser, held_app):
    page = browser.new_page()
    page.goto(held_app.url)
    page.wait_for_selector("#make")
    assert "Loading models" in page.inner_text(".status")
    example(page, "Text to speech")
    page.locator("#make").click()
    page.wait_for_selector(".job[data-phase=waiting]")
    page.locator(".job-cancel").click()
    page.get_by_text("No clip was finished").wait_for()
    assert "Loading models" in page.inner_text(".status")
    page.close()


def test_cancel_before_the_server_has_answered(browser, held_app):
    page = browser.new_page()
    page.goto(held_app.url)
    page.wait_for_selector("#make")
    example(page, "Text to speech")
    held: list[Route] = []
    page.route("**/run/**", lambda route: held.append(route))
    with page.expect_request("**/run/**"):
        page.locator("#make").click()
    page.locator(".job-cancel").click()
    assert page.inner_text(".job-stage") == "Canceling"
    for route in held:
        route.continue_()
    page.get_by_text("No clip was finished").wait_for()
    page.close()


def test_an_image_gives_an_estimate_that_stays(open_page):
    page = open_page()
    example(page, "One person")
    # "about" if earlier tests have made videos
    estimate = page.locator("#preset").get_by_text(re.compile("estimated|about")).first
    estimate.wait_for()
    page.wait_for_timeout(1000)  # for answers to earlier calls
    assert estimate.is_visible()


def test_an_error_opens_its_persons_tab(open_page):
    page = open_page()
    bring(page, "two_people.png", "left.wav")
    choose(page, "Two in turns")
    page.get_by_role("tab", name="Person 2").wait_for()
    page.get_by_role("button", name="Generate video").click()
    page.locator("#error-person2 [role=alert]").wait_for()
    page.get_by_role("tab", name="Person 2", selected=True).wait_for()


def test_a_dialogue_has_no_choice_of_audio(open_page):
    page = open_page()
    choose(page, "Two at once")
    page.get_by_role("tab", name="Person 2").click()
    page.locator("#people .segments:visible").wait_for()
    choose(page, "Dialogue script")
    page.get_by_label("Person 2: voice").wait_for()
    assert page.locator("#people .segments:visible").count() == 0


def test_importing_the_page_imports_no_model_libraries():
    code = (
        "import sys, multitalk.ui.page, multitalk.ui.routes; "
        "print([m for m in ('torch', 'diffusers', 'transformers', 'cv2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_errors_appear_beside_their_field(browser, app, tmp_path):
    page = browser.new_page()
    page.goto(app.url)
    wait_state(page, "ready")
    page.locator("#make").click()
    assert "Image is missing" in error_at(page, "picture")
    page.locator("#picture input[type=file]").set_input_files(_broken(tmp_path, "face.png"))
    page.get_by_text("cannot be read as an image").wait_for()
    assert "face.png" in error_at(page, "picture")
    assert "/" not in error_at(page, "picture"), "no folder of the server is shown"
    page.locator("#person1-sound input[type=file]").set_input_files(_broken(tmp_path, "voice.wav"))
    page.get_by_text("cannot be read as audio").wait_for()
    assert "voice.wav" in error_at(page, "person1")
    page.close()


def test_errors_of_settings_and_text(open_page):
    page = open_page()
    example(page, "Text to speech")
    page.locator("#person1-text textarea").fill("...")
    page.locator("#make").click()
    assert "words" in error_at(page, "person1")
    page.locator("#person1-text textarea").fill("Hello")
    page.locator("#more > button").click()
    page.locator("input[aria-label='Frames per clip']").fill("80")
    page.locator("#make").click()
    page.get_by_text("Frames per clip must be").wait_for()
    assert page.locator("#error-person1 [role=alert]").count() == 0, "the corrected error is cleared"


def test_fields_that_do_not_apply_are_hidden(open_page):
    page = open_page()
    hidden = ["#person1-text", "#script", "#hear", "#boxes", "#custom-height", "#person1-voice"]
    assert [name for name in hidden if page.locator(name).is_visible()] == []
    choose(page, "Text to speech")
    page.locator("#person1-text").wait_for()
    page.locator("#person1-sound").wait_for(state="hidden")
    choose(page, "Dialogue script")
    page.locator("#script").wait_for()
    page.locator("#person1-text").wait_for(state="hidden")
    page.locator("#person1-voice").wait_for()


def test_the_second_person_has_the_fields_of_its_source(open_page):
    page = open_page()
    choose(page, "Two at once")
    page.get_by_role("tab", name="Person 2").click()
    sound, text, voice = (page.locator(f"#person2-{name}") for name in ("sound", "text", "voice"))
    for source in ("Text to speech", "Audio", "Text to speech"):
        choose(page, source)
        (sound if source == "Audio" else text).wait_for()
        assert [part.is_visible() for part in (sound, text, voice)] == [source == "Audio"] + [
            source != "Audio"
        ] * 2
    choose(page, "Dialogue script")
    text.wait_for(state="hidden")
    assert [part.is_visible() for part in (sound, voice)] == [False, True]


def test_presets_show_times_and_fill_in_their_values(open_page):
    page = open_page()
    example(page, "Text to speech")
    steps = page.locator("input[aria-label='Steps']")
    time = re.compile(r"Demo · (about|estimated) \d+ (s|min)")
    page.locator("#preset").get_by_text(time).wait_for()
    page.locator("#more > button").click()
    assert steps.input_value() == "6"
    fill(page, Steps="17")
    with page.expect_response(lambda response: "/run/" in response.url):  # the shift's
        page.locator("#size input").click()
        page.get_by_role("option", name="480p, aspect ratio of the image").click()
    before = page.locator("#seed input").input_value()
    page.locator("#dice").click()
    page.wait_for_function(f"document.querySelector('#seed input').value !== '{before}'")
    assert steps.input_value() == "17", "another size does not change it"


def test_values_typed_during_a_request_are_kept(open_page):
    page = open_page()
    be_quick(page)
    shift, height = "input[aria-label='Shift']", "Height (multiple of 16)"
    assert page.locator(shift).input_value() == "3"
    held: list[Route] = []
    page.route("**/run/**", lambda route: held.append(route))
    with page.expect_request("**/run/**"):
        fill(page, **{height: "80"})
    fill(page, **{"Shift": "4.5", "Steps": "11"})
    for route in held:
        route.continue_()
    page.unroute("**/run/**")
    for route in held:
        route.request.response()
    page.wait_for_timeout(500)  # long enough for an unwanted change
    assert page.locator(shift).input_value() == "4.5"
    fill(page, Shift="")
    fill(page, **{height: "96"})
    page.wait_for_function(f"""document.querySelector("{shift}").value === '3'""")
    assert page.locator("input[aria-label='Steps']").input_value() == "11"


def test_no_button_uploads_files_to_other_hosts(open_page):
    """Gradio's button "share" uploads a picture or a voice to a public host."""
    page = open_page()
    example(page, "One person")
    page.locator("#person1-sound").get_by_label("Download").first.wait_for()
    page.locator("#picture").get_by_label("Fullscreen").wait_for()
    assert page.get_by_label(re.compile("^share$", re.I)).count() == 0
    asked = page.evaluate("window.gradio_config.components.flatMap(({props}) => props.buttons || [])")
    assert asked
    assert "share" not in asked


def test_boxes_by_keyboard_and_swapped(open_page):
    page = open_page()
    example(page, "Dialogue script")
    box = page.locator(".person-box[data-person=person1]")
    box.wait_for()
    page.locator(".people-picture").wait_for()
    before = box.bounding_box()
    box.press("Shift+ArrowLeft")
    smaller = box.bounding_box()
    assert smaller["width"] < before["width"]
    page.get_by_role("button", name="Swap people").click()
    assert box.bounding_box()["x"] > before["x"] + 50
    assert page.get_by_text("Person 1 · right").count() == 1, "the labels show the sides"


def test_errors_of_one_person_are_visible_in_both_tabs(open_page):
    page = open_page()
    example(page, "Two in turns")
    page.get_by_role("tab", name="Person 2").click()
    page.locator("#person2-sound").get_by_label("Clear").click()
    page.get_by_role("tab", name="Person 1").click()
    page.locator("#make").click()
    page.locator("#error-person2 [role=alert]").wait_for()
    assert "Audio of person 2 is missing" in error_at(page, "person2")
    choose(page, "One person")
    page.locator("#error-person2").wait_for(state="hidden")


def test_the_last_selected_mode_applies(open_page, tmp_path):
    large = tmp_path / "large.jpg"
    with Image.open(EXAMPLES / "two_people.png") as picture:
        picture.convert("RGB").resize((6000, 4000)).save(large)
    page = open_page()

    def of_the_picture(people: int):
        return page.expect_response(
            lambda response: (
                '"proposal":{"key"' in response.text() and f'"speakers":{people}' in response.text()
            )
        )

    with of_the_picture(1):
        page.locator("#picture input[type=file]").set_input_files(str(large))
    with of_the_picture(2), of_the_picture(1):
        with page.expect_request(lambda request: '"in_order","",null]' in (request.post_data or "")):
            choose(page, "Two in turns")
        choose(page, "One person")  # while faces are detected in the large image
    page.get_by_text("Two faces found. Select the one that speaks.").wait_for()
    assert page.locator(".person-box:visible").count() == 0


def test_edited_boxes_are_kept_until_the_image_changes(open_page, tmp_path):
    page = open_page()
    example(page, "Dialogue script")
    box = page.locator(".person-box[data-person=person1]")
    box.wait_for()
    found = box.bounding_box()
    page.get_by_role("button", name="Swap people").click()
    swapped = box.bounding_box()
    assert swapped["x"] > found["x"] + 50
    for mode in ("Two in turns", "One person", "Dialogue script"):
        # the server proposes boxes again for each mode
        with page.expect_response(lambda response: '"proposal"' in response.text()):
            choose(page, mode)
    box.get_by_text("Person 1 · right").wait_for()
    assert box.bounding_box() == swapped
    page.get_by_role("button", name="Change image").click()
    box.wait_for(state="hidden")
    mirrored = tmp_path / "mirrored.png"
    with Image.open(EXAMPLES / "two_people.png") as picture:
        ImageOps.mirror(picture).save(mirrored)
    page.locator("#picture input[type=file]").set_input_files(str(mirrored))
    box.get_by_text("Person 1 · left").wait_for()


def test_every_field_has_a_name(open_page):
    page = open_page()
    choose(page, "Text to speech")
    page.locator("#more > button").click()
    nameless = page.evaluate(
        """() => {
          const named = (node) => node.ariaLabel || node.title || node.textContent.trim()
            || node.getAttribute('aria-labelledby') || (node.labels && node.labels[0]?.textContent.trim());
          return [...document.querySelectorAll('input, textarea, button, [role=progressbar]')]
            .filter((node) => node.checkVisibility() && node.type !== 'file' && !named(node))
            .map((node) => node.outerHTML.slice(0, 160));
        }"""
    )
    assert nameless == []


def _broken(folder, name):
    path = folder / name
    path.write_bytes(b"this is only text " * 40)
    return path


def test_the_audio_of_a_video_file_is_used(open_page, tmp_path):
    tone = Sound(0.3 * np.sin(np.arange(32_000)[:, None] / 20).astype(np.float32), 16_000)
    with VideoWriter(tmp_path / "clip.mp4", 64, 64, sound=tone) as writer:
        writer.write(np.zeros((50, 64, 64, 3), np.uint8))
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.locator("#person1-track").click()
    chooser.value.set_files(tmp_path / "clip.mp4")
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    page.locator("#person1-sound").get_by_text("0:02").first.wait_for()


def test_a_new_visitors_page_fills_in_no_form(browser, app):
    """A handler of all fields takes Gradio long, also at later events if it may show progress."""
    events = app.get("/config").json()["dependencies"]
    assert all(event["show_progress_on"] == [] for event in events if event["show_progress"] == "hidden")
    of_all_fields = {event["id"] for event in events if event["backend_fn"] and len(event["outputs"]) > 40}
    called = []

    def note(request: Request) -> None:
        if request.method == "POST" and "fn_index" in (request.post_data or ""):
            called.append(request.post_data_json["fn_index"])

    def wait_filled() -> None:
        wait_ready(page)
        page.wait_for_function("window.multitalkForm.isReady()")

    with browser.new_context() as context:
        page = context.new_page()
        page.on("request", note)
        page.goto(app.url)
        wait_filled()
        assert called
        assert not of_all_fields & set(called)
        page.locator("#more > button").click()
        page.locator("#prompt textarea").fill("Two friends")
        page.wait_for_function("Object.values(localStorage).some((kept) => kept.includes('Two friends'))")
        page.reload()
        wait_filled()
        page.locator("#more > button").click()
        assert page.locator("#prompt textarea").input_value() == "Two friends"
        assert len(of_all_fields & set(called)) == 1


def test_the_forms_of_two_tabs_do_not_mix(browser, app):
    """A reload fills in the values of the tab that was changed last."""
    with browser.new_context() as context:
        tabs = [context.new_page(), context.new_page()]
        for page in tabs:
            page.goto(app.url)
            wait_ready(page)
            page.wait_for_function("window.multitalkForm.isReady()")
            page.locator("#more > button").click()
        first, second = tabs
        default = second.locator("#prompt textarea").input_value()
        first.locator("#prompt textarea").fill("Two friends")
        first.wait_for_function("Object.values(localStorage).some((kept) => kept.includes('Two friends'))")
        fill(second, Steps="7")
        second.wait_for_function('Object.values(localStorage).some((kept) => /"steps":7\\b/.test(kept))')
        second.reload()
        wait_ready(second)
        second.wait_for_function("window.multitalkForm.isReady()")
        second.locator("#more > button").click()
        assert second.locator("input[aria-label='Steps']").input_value() == "7"
        assert second.locator("#prompt textarea").input_value() == default
