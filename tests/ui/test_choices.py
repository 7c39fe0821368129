"""The form's words: languages and voices by name, one control for skipped steps, no dead switch."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from multitalk.request.build import build_request
from multitalk.request.voices import KOKORO_VOICES
from multitalk.speech.espeak import EspeakEngine
from multitalk.speech.kokoro import KokoroEngine
from multitalk.ui.estimates import Estimator
from multitalk.ui.fields import cache_fields
from multitalk.ui.file_origin import FileFacts
from multitalk.ui.gallery import Gallery
from multitalk.ui.restore import RESTORED, restored_values
from multitalk.ui.speech_choices import language_choices, voice_choices
from multitalk.ui.worker import ModelWorker
from tests.ui.app import EXAMPLES
from tests.ui.screens import DESKTOP, SCREENS
from tests.ui.steps import choose
from tests.ui.test_restore import saved_settings


@pytest.fixture(scope="module")
def kokoro(tmp_path_factory) -> KokoroEngine:
    """Kokoro with the names of its voices; the network is not used."""
    folder = tmp_path_factory.mktemp("kokoro")
    (folder / "voices").mkdir()
    for voice in KOKORO_VOICES:
        (folder / "voices" / f"{voice}.pt").touch()
    return KokoroEngine(folder, "cpu")


def test_languages_have_names_and_common_ones_are_first(kokoro):
    espeak = language_choices(EspeakEngine())
    assert [name for name, _ in espeak[:3]] == ["English, American", "English, British", "Spanish"]
    assert ("German", "de") in espeak[:18]
    assert ("Afrikaans (af)", "af") in espeak
    assert all(name.split(" (")[0] != code for name, code in espeak)
    assert len({code for _, code in espeak}) == len(espeak)
    assert "en-us" not in {code for _, code in espeak}, "American English is already there"
    assert [code for _, code in language_choices(kokoro)] == list("abefhijpz")


def test_voices_have_names_and_the_best_are_first(kokoro):
    names = [name for name, _ in voice_choices(kokoro)]
    assert names[0] == "Automatic"
    assert "Heart, woman, English, American (af_heart)" in names[1:9]
    assert "Adam, man, English, American (am_adam)" in names[1:9]
    assert len(names) == len(KOKORO_VOICES) + 1
    espeak = [name for name, _ in voice_choices(EspeakEngine())]
    assert {name.split(", ")[1] for name in espeak[1:9]} == {"woman", "man"}
    assert espeak.index("Alicia, woman") < espeak.index("Robosoft")


@pytest.mark.parametrize(
    ("cache", "threshold", "expected"),
    [
        ("", 0.3, {}),
        ("teacache", 0, {"teacache": 0.2}),
        ("teacache", 0.3, {"teacache": 0.3}),
        ("first_block", None, {"cache": {"name": "first_block"}}),
        ("magcache", 0.1, {"cache": {"name": "magcache", "threshold": 0.1}}),
    ],
)
def test_skipped_steps_are_one_setting_and_restored(tmp_path, cache, threshold, expected):
    assert cache_fields({"cache": cache, "threshold": threshold}) == expected
    worker = ModelWorker(None, Gallery(tmp_path, 10**9), Estimator(tmp_path / "runs.json"))
    request = build_request(
        {"image": EXAMPLES / "one_person.png", "audio": EXAMPLES / "one_person.wav", **expected}
    )
    *values, _, sentence = restored_values(FileFacts("a.mp4", saved_settings(request)), worker)
    restored = dict(zip(RESTORED, values, strict=True))
    again = build_request(
        {"image": request.image, "audio": EXAMPLES / "one_person.wav", **cache_fields(restored)}
    )
    assert (again.teacache, again.cache) == (request.teacache, request.cache)
    assert "Not restored" not in sentence


TYPE_AND_HEAR = """(words) => {
  const text = document.querySelector("#person1-text textarea");
  text.value = words;
  text.dispatchEvent(new Event("input", { bubbles: true }));
  document.querySelector("#hear").click();
}"""


@pytest.fixture
def page(open_page) -> Page:
    return open_page(**SCREENS[DESKTOP])


@pytest.mark.slow
def test_a_heard_text_goes_when_the_words_change(page):
    choose(page, "Text to speech")
    text = page.locator("#person1-text textarea")
    text.fill("Good morning.")
    page.locator("#hear").click()
    heard = page.locator("#heard")
    heard.get_by_label("Play").or_(heard.get_by_label("Pause")).first.wait_for()
    text.press("End")
    text.press_sequentially(" Really")
    heard.wait_for(state="hidden")
    page.locator("#hear").click()
    heard.get_by_label("Play").or_(heard.get_by_label("Pause")).first.wait_for()
    page.locator("#person1-voice input").fill("Alicia")
    page.get_by_role("option", name="Alicia, woman").click()
    heard.wait_for(state="hidden")


@pytest.mark.slow
def test_words_that_change_right_before_or_after_hear_are_heard(page):
    choose(page, "Text to speech")
    heard = page.locator("#heard")
    player = heard.get_by_label("Play").or_(heard.get_by_label("Pause")).first
    for words in ("Good morning.", "Good evening, everybody."):  # the page notices the words after the press
        page.evaluate(TYPE_AND_HEAR, words)
        player.wait_for()
    page.evaluate(TYPE_AND_HEAR, "One.")
    page.evaluate(TYPE_AND_HEAR, "One, two, three, four, five, six, seven, eight, nine, ten.")
    page.wait_for_function("/0:0[4-9]/.test(document.querySelector('#heard').innerText)")  # its length


@pytest.mark.slow
def test_a_dialogue_has_no_switch_between_audio_and_text(page):
    source = page.locator("#field-person1-source")
    source.wait_for()
    choose(page, "Dialogue script")
    source.wait_for(state="hidden")
    page.locator("#person1-voice").wait_for()
    choose(page, "One person")
    source.wait_for()


@pytest.mark.slow
def test_languages_are_found_by_name_and_the_threshold_belongs_to_skipped_steps(page):
    choose(page, "Text to speech")
    language = page.locator("#person1-language input")
    language.fill("scot")
    page.get_by_role("option", name="English (Scotland) (en-gb-scotland)").click()
    assert language.input_value() == "English (Scotland) (en-gb-scotland)"
    page.locator("#more > button").click()
    threshold = page.locator("#threshold")
    page.locator("#cache input").wait_for()
    assert not threshold.is_visible()
    page.locator("#cache input").click()
    page.get_by_role("option", name="TeaCache").click()
    threshold.wait_for()
    page.locator("#cache input").click()
    page.get_by_role("option", name="No: compute every step").click()
    threshold.wait_for(state="hidden")
    for label in ("Steps", "Shift", "Text guidance", "Audio guidance", "Seed"):
        block = page.locator(".block", has=page.locator(f"input[aria-label='{label}']")).last
        assert len(block.inner_text().split()) > 3, f"{label} says what it does"


@pytest.mark.parametrize("screen", SCREENS)
def test_settings_that_the_weights_lack_are_not_offered(screen, open_page):
    """The demo weights have neither the small decoder nor the voice separator."""
    page = open_page(**SCREENS[screen])
    page.locator("#more > button").click()
    page.locator("#isolate-voice").wait_for()
    assert not page.locator("#vae").is_visible()
    assert not page.get_by_label("Previews").is_visible()
    hint = page.locator("#isolate-voice").inner_text()
    assert "Always needs the voice separator, which these weights lack." in hint


@pytest.mark.parametrize("screen", SCREENS)
def test_the_audio_scales_are_told_apart_and_gaps_are_even(screen, open_page):
    page = open_page(**SCREENS[screen])
    page.locator("#more > button").click()
    scales = [page.locator(f"#field-person{number}-scale") for number in (1, 2)]
    scales[0].wait_for()
    assert not scales[1].is_visible(), "one person speaks"
    choose(page, "Two in turns")
    scales[1].wait_for()
    for number, scale in enumerate(scales, 1):
        label = scale.locator("[data-testid=block-info]")
        assert label.inner_text() == f"Audio scale of person {number}"
        box, room = label.bounding_box(), scale.bounding_box()
        assert box["x"] + box["width"] <= room["x"] + room["width"], "not cut"
        assert label.evaluate("(label) => label.scrollWidth <= label.clientWidth + 1")
    gaps = page.evaluate(
        """() => [...document.querySelectorAll('#more .column > *, #more .column > .form > *')]
          .filter((block) => block.offsetHeight && block.previousElementSibling?.offsetHeight)
          .map((block) => block.getBoundingClientRect().top
            - block.previousElementSibling.getBoundingClientRect().bottom)"""
    )
    assert len(gaps) >= 10
    assert all(abs(gap - 14) < 1 for gap in gaps), gaps
