"""The page and marks: consent, the choice, the result, and what a dropped video says about itself."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from multitalk.marks.identity import SELF_SIGNED
from multitalk.media.inspection import inspect_file
from multitalk.ui.layout import Layout
from multitalk.ui.marking import CONSENT, INFO, build_marking
from tests.marks.video_files import change_frames, reencode, signed_video
from tests.ui.app import App
from tests.ui.conftest import Open
from tests.ui.screens import DESKTOP, PHONE, SCREENS
from tests.ui.steps import be_quick, bring, make
from tests.ui.test_drops import drop_on

ORIGIN = "Content Credentials: made by AI with MultiTalk"


@pytest.mark.parametrize(
    ("policy", "value"), [(None, True), ("default", True), ("off", False), ("required", None)]
)
def test_the_form_has_the_choice_that_the_server_leaves(monkeypatch, policy, value):
    if policy is not None:
        monkeypatch.setenv("MARK", policy)
    layout = Layout()
    with gr.Blocks() as page:
        build_marking(layout)
    if value is None:  # a value that the browser has kept from before cannot reach the request
        assert layout.form == {}
        assert f"Mark as AI-generated: on. {INFO} This server requires it." in str(page.config)
    else:
        assert layout.form["mark"].value is value


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_the_line_about_consent_is_in_view(open_page: Open, screen: str):
    page = open_page(**SCREENS[screen])
    line = page.get_by_text(CONSENT)
    expect(line).to_be_in_viewport(ratio=1)
    image = page.locator("#picture").bounding_box()
    text = line.bounding_box()
    assert text["y"] + text["height"] <= image["y"]
    assert text["x"] + text["width"] <= SCREENS[screen]["viewport"]["width"]


@pytest.mark.slow
def test_a_result_is_marked_unless_the_user_says_no(open_page: Open, app: App):
    page = open_page(**SCREENS[DESKTOP])
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **{"Maximum seconds": "0.4"})
    box = page.get_by_label("Mark as AI-generated")
    expect(box).to_be_checked()
    marked = app.outputs / make(page)
    assert inspect_file(marked).marks == ("c2pa",)
    shown = page.locator(".job-facts")
    expect(shown).to_contain_text(f"signed by {SELF_SIGNED}")
    expect(page.get_by_text("Signed Content Credentials and an invisible watermark.")).to_be_visible()
    page.wait_for_function("document.querySelector('.job-player').readyState >= 2")  # Chromium plays it
    box.uncheck()
    plain = app.outputs / make(page)
    assert inspect_file(plain).credentials is None
    expect(shown).to_contain_text("off")


@pytest.mark.slow
def test_a_video_that_is_brought_says_where_it_comes_from(open_page: Open, tmp_path: Path):
    page = open_page(**SCREENS[PHONE])
    marked = signed_video(tmp_path / "marked.mp4")
    field = page.locator("#restore input[type=file]")
    message = page.locator("#restored-file")
    field.set_input_files(marked)
    message.get_by_text("marked.mp4: settings restored.").wait_for()
    message.get_by_text(ORIGIN).wait_for()
    assert f"Signed by {SELF_SIGNED}." in message.inner_text()
    field.set_input_files(reencode(marked, tmp_path / "again.mp4"))
    message.get_by_text("again.mp4: no Content Credentials, no watermark and no settings").wait_for()
    drop_on(page, ".masthead", change_frames(marked))
    page.get_by_text("not valid. The file was changed after it was signed.").wait_for()


@pytest.mark.slow
def test_a_server_can_require_marks(browser: Browser, weights: Path, tmp_path: Path):
    with App(tmp_path, MULTITALK_WEIGHTS=str(weights), MARK="required") as app:
        app.wait_open()
        page = browser.new_page()
        page.goto(app.url)
        page.locator("#more > button").click()
        page.get_by_text("This server requires it.").wait_for()
        assert page.get_by_label("Mark as AI-generated").count() == 0
        page.close()
