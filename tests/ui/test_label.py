"""The visible label, from the page's checkbox to the file."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.marks.clips import decode
from tests.ui.app import App
from tests.ui.conftest import Open
from tests.ui.screens import PHONE, SCREENS
from tests.ui.steps import be_quick, bring, error_at, facts, make

pytestmark = pytest.mark.slow


def test_a_video_with_a_label(open_page: Open, app: App) -> None:
    page: Page = open_page(**SCREENS[PHONE])
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page)
    page.locator("input[aria-label='Maximum seconds']").fill("0.5")
    page.get_by_label("Visible label").check()
    assert page.get_by_label("Label text").input_value() == "AI-generated"
    page.get_by_label("Label text").fill("ה")
    page.locator("#make").click()
    page.wait_for_selector("#error-settings [role=alert]")
    assert error_at(page, "settings").startswith("Visible label contains characters that the font lacks (ה).")
    page.get_by_label("Label text").fill("AI")
    page.locator("#label-corner input").click()
    page.get_by_role("option", name="Top left").click()
    path = app.outputs / make(page)
    assert facts(path)["settings"]["label"] == {"text": "AI", "corner": "top-left"}
    corner = decode(path)[:, 2:16, 2:16]
    assert np.all(corner.min((1, 2, 3)) < 110), "the dark plate on the light background"
    assert np.all(corner.max((1, 2, 3)) > 200), "its letters"
