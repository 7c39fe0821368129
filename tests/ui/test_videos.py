"""From an image and a voice to a video, in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator

from tests.ui.app import ARTIFACTS
from tests.ui.steps import (
    SLOW,
    be_quick,
    bring,
    bring_sound,
    cancel,
    choose,
    example,
    facts,
    fill,
    make,
    see_a_clip,
    wait_phase,
    wait_ready,
)

pytestmark = pytest.mark.slow
SHORT = {"Maximum seconds": "1.5"}


def test_one_person(open_page, app):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT, Steps="40")  # the first clip is seen before the second ends
    page.evaluate(
        """() => {
          window.played = [];
          document.addEventListener('loadedmetadata', ({target: player}) => {
            if (player.matches('.job-player')) window.played.push({
              seconds: player.duration, height: player.videoHeight, source: player.src,
              phase: document.querySelector('.job').dataset.phase});
          }, true);
        }"""
    )
    page.locator("#make").click()
    page.wait_for_function("window.played.length > 0")
    partial = page.evaluate("window.played[0]")
    assert partial["seconds"] == pytest.approx(21 / 25, abs=0.1), "the first clip plays on its own"
    assert partial["height"] == 64
    assert (partial["phase"], "/clips/" in partial["source"]) == ("running", True), (
        "before the video is complete"
    )
    assert wait_phase(page, "done", "failed") == "done"
    name = page.get_attribute(".job", "data-result")
    saved = facts(app.outputs / name)
    assert saved["frames"] == 38
    assert saved["sounds"]
    assert {"seed": 42, "steps": 40, "people": 1, "size": [64, 64]}.items() <= saved["settings"].items()
    assert name.startswith("one-person-seed42"), "the file is named after its audio"
    with page.expect_download() as download:
        page.locator(".job-download").click()
    assert download.value.suggested_filename == name
    card = page.locator(f".card[data-name='{name}']")
    card.wait_for()
    assert card.count() == 1
    page.wait_for_function("document.querySelector('.job-player').duration > 1.4")


def test_progress_is_shown_and_increases(open_page):
    """A long video, canceled after a few updates."""
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.evaluate(
        """() => { window.seen = []; const bar = document.querySelector('.job-bar');
        new MutationObserver(() => window.seen.push([Number(bar.getAttribute('aria-valuenow')),
          document.querySelector('.job-stage').textContent, document.querySelector('.job-detail').textContent,
          document.querySelector('.job-left').textContent])).observe(bar, {attributes: true}); }"""
    )
    page.locator("#make").click()
    page.wait_for_function(
        """new Set(window.seen.map(([percent]) => percent)).size > 4
        && window.seen.some(([, stage, detail, left]) =>
          stage === 'Denoising' && /^clip \\d of 9, step \\d+ of 100$/.test(detail) &&
          left.includes('left'))""",
        timeout=120_000,
    )
    cancel(page)
    assert wait_phase(page, "done", "empty", "failed") != "failed"
    percents = [percent for percent, *_ in page.evaluate("window.seen")]
    assert percents == sorted(percents)


def test_two_people_with_a_dragged_box(open_page, app):
    page = open_page()
    bring(page, "two_people.png", "left.wav")
    choose(page, "Two at once")
    page.wait_for_selector(".person-box[data-person=person1]")
    bring_sound(page, 2, "right.wav")
    page.get_by_text("Person 2 · right · right.wav").wait_for()
    assert "Two faces found" in page.inner_text(".people-note")
    be_quick(page, **SHORT)
    box = page.locator(".person-box[data-person=person2]")
    page.locator(".people-stage").scroll_into_view_if_needed()
    stage, before = page.locator(".people-stage").bounding_box(), box.bounding_box()
    corner = box.locator(".corner.se").bounding_box()
    x, y = corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y - 40, steps=4)
    page.mouse.up()
    after = box.bounding_box()
    assert before["width"] - after["width"] == pytest.approx(60, abs=3)
    assert before["height"] - after["height"] == pytest.approx(40, abs=3)
    settings = facts(app.outputs / make(page))["settings"]
    assert (settings["people"], settings["turns"]) == (2, "together")
    assert settings["image_size"] == [576, 384]
    scale = 576 / stage["width"]
    shown = [after["x"] - stage["x"], after["x"] - stage["x"] + after["width"]]
    x0, _, x1, _ = settings["boxes"]["person2"]
    assert [x0, x1] == pytest.approx([side * scale for side in shown], abs=3), "the request contains the box"
    assert x0 >= settings["boxes"]["person1"][2] - 1


def test_speech_preview_and_video_from_text(open_page, app):
    page = open_page()
    page.locator("#picture input[type=file]").set_input_files("examples/one_person.png")
    choose(page, "Text to speech")
    page.locator("#person1-text textarea").fill("Good morning, everybody.")
    page.locator("#hear").click()
    page.locator("#heard").get_by_label("Play", exact=True).wait_for()
    be_quick(page)
    name = make(page)
    settings = facts(app.outputs / name)["settings"]
    assert settings["speech"]["text"] == "Good morning, everybody."
    assert name.startswith("good-morning-everybody-seed")
    assert "Good morning, everybody." in page.inner_text(".job-title")


def test_dialogue_script(open_page, app):
    page = open_page()
    example(page, "Dialogue script")
    page.wait_for_selector(".person-box[data-person=person2]")
    page.locator("#script").wait_for()
    page.locator("#person1-sound").wait_for(state="hidden")  # a dialogue has text only
    assert page.locator("#script textarea").input_value().startswith("(s1)")
    be_quick(page, **SHORT)
    settings = facts(app.outputs / make(page))["settings"]
    assert settings["people"] == 2
    assert "(s2)" in settings["speech"]["text"]


def test_dialogue_of_named_lines_in_two_languages(open_page, app):
    page = open_page()
    wait_ready(page)
    example(page, "Dialogue script")
    page.wait_for_selector(".person-box[data-person=person2]")
    script, error = page.locator("#script textarea"), page.locator("#error-script")
    script.fill("安娜：**你好**！")
    page.locator("#make").click()
    error.get_by_text("no (s2) in the script").wait_for()
    script.fill("安娜：**你好**！\nBen: Hello.")
    page.locator("#make").click()
    error.get_by_text("Chinese characters ('你好！'), which espeak-ng does not read in language a").wait_for()
    error.get_by_text("Set the language of person 1, for example to z (Mandarin Chinese).").wait_for()
    page.locator("#person1-language input").click()
    page.get_by_role("option", name="Chinese, Mandarin").click()
    be_quick(page, **SHORT)
    name = make(page)
    assert name.startswith("你好-hello-seed")
    assert facts(app.outputs / name)["settings"]["speech"]["text"] == "(s1) **你好**！\n(s2) Hello."
    with page.expect_download() as download:
        page.locator(".job-download").click()
    assert download.value.suggested_filename == name
    page.locator(f".card[data-name='{name}']").wait_for()


def test_example_of_two_in_turns(open_page, app):
    page = open_page()
    example(page, "Two in turns")
    page.get_by_text("Person 2 · right · right.wav").wait_for()
    be_quick(page, **SHORT)
    assert facts(app.outputs / make(page))["settings"]["turns"] == "in_order"


def has_controls(player: Locator) -> bool:
    return bool(player.evaluate("(player) => player.controls"))


def test_cancel_saves_the_finished_part(open_page, app):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").click()
    see_a_clip(page)
    player = page.locator(".job-player")
    assert not has_controls(player), "they take half a core from the model"
    player.hover()
    assert has_controls(player)
    page.locator(".job-stage").hover()
    assert not has_controls(player)
    player.focus()
    assert has_controls(player)
    cancel(page)
    assert wait_phase(page, "done", "empty", "failed") == "done"
    assert has_controls(player)
    assert "Stopped early" in page.inner_text(".job-note")
    frames = facts(app.outputs / page.get_attribute(".job", "data-result"))["frames"]
    assert frames < 5 * 25
    assert frames >= 21, "the first clip is complete"
    assert frames % 4 == 1, "and whole groups of frames of the next one"


def test_reload_during_a_run(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").click()
    page.wait_for_selector(".job[data-phase=running]")
    page.reload()
    see_a_clip(page)
    cancel(page)
    assert wait_phase(page, "done", "failed") == "done"
    page.reload()
    page.wait_for_selector(".job[data-phase=done]")
    assert page.locator(".job-download").is_visible(), "the result is shown again"


def test_two_browsers_get_separate_videos(open_page, app):
    first, second = open_page(), open_page()
    for page, name in ((first, "one_person"), (second, "two_people")):
        bring(page, f"{name}.png", "one_person.wav")
        be_quick(page, **SLOW)
    first.locator("#make").click()
    first.wait_for_selector(".job[data-phase=running]")
    second.locator("#make").click()
    second.get_by_text("1 video is ahead of yours").wait_for()
    urls: list[str] = []
    first.on("request", lambda request: urls.append(request.url))
    names = set()
    for page in (first, second):
        see_a_clip(page)
        cancel(page)
        assert wait_phase(page, "done", "empty", "failed") == "done"
        names.add(page.get_attribute(".job", "data-result"))
    assert len(names) == 2
    job = next(url for url in urls if "/multitalk/jobs/" in url).split("/clips")[0]
    assert second.context.request.get(job).status == 404, "another browser's job is not accessible"
    assert first.context.request.get(job).status == 200


def test_a_video_dropped_on_the_page_restores_its_settings(open_page, app):
    page = open_page()
    example(page, "Text to speech")
    be_quick(page, **{"Shift": "4.5"})
    name = make(page)
    page.reload()
    wait_ready(page)
    page.locator("#more > button").click()
    fill(page, Shift="2", Steps="9")  # the page has kept the form
    page.evaluate(
        """async (name) => {
          const blob = await (await fetch('multitalk/results/' + name)).blob();
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], name, {type: 'video/mp4'}));
          document.querySelector('h1').dispatchEvent(
            new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        name,
    )
    page.get_by_text("Settings restored").wait_for()
    assert page.locator("input[aria-label='Shift']").input_value() == "4.5"
    assert page.locator("input[aria-label='Steps']").input_value() == "2"
    assert page.locator("#custom-height input").input_value() == "64"
    assert page.locator("#person1-text textarea").input_value() == "Hello! I was only a drawing."


def test_text_of_two_at_once_is_restored(open_page, app):
    page = open_page()
    page.locator("#picture input[type=file]").set_input_files("examples/two_people.png")
    choose(page, "Two at once")
    choose(page, "Text to speech")
    page.locator("#person1-text textarea").fill("Hello there.")
    page.get_by_role("tab", name="Person 2").click()
    choose(page, "Text to speech")
    page.locator("#person2-text textarea").fill("Good morning.")
    be_quick(page)
    name = make(page)
    scripts = facts(app.outputs / name)["settings"]["said"]
    assert [scripts[person]["text"] for person in ("person1", "person2")] == ["Hello there.", "Good morning."]
    assert "Hello there. Good morning." in page.inner_text(".job-title")
    choose(page, "Dialogue script")
    page.locator("#script").wait_for()
    page.locator(".job-again").click()
    page.get_by_text("Settings restored").wait_for()
    page.locator("#script").wait_for(state="hidden")
    assert page.locator("#mode input:checked").get_attribute("value") == "together"
    assert page.locator("#person2-text textarea").input_value() == "Good morning."
    page.get_by_role("tab", name="Person 1").click()
    assert page.locator("#person1-text textarea").input_value() == "Hello there."
    page.screenshot(path=ARTIFACTS / "page-restored.png", full_page=True)


def test_screenshots_in_light_and_dark_mode_and_on_a_phone(open_page):
    ARTIFACTS.mkdir(exist_ok=True)
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    for name, options in {"light": {}, "dark": {"color_scheme": "dark"}, "phone": phone}.items():
        page = open_page(**options)
        example(page, "Two in turns")
        page.wait_for_selector(".person-box[data-person=person2]")
        page.wait_for_function("document.querySelector('.people-picture').complete")
        page.screenshot(path=ARTIFACTS / f"page-{name}.png", full_page=True)
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{name}: the page is not wider than the window"
        color = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
        background = [int(value) for value in color]
        assert (sum(background[:3]) < 200) == (name == "dark")
