"""What the page tells about a video: how long it takes, and what the demo weights can do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from benchmarks.page_progress import WATCH
from tests.ui.app import EXAMPLES, App
from tests.ui.steps import SLOW, be_quick, bring, bring_sound, example, fill, make, wait_phase
from tests.ui.test_panel import PHONE, SCREENS, jobs_of, wait_visible

pytestmark = pytest.mark.slow


def test_the_bar_moves_and_the_time_left_is_told(open_page):
    """A demo video of one clip; benchmarks/page_progress.py measures how true the time is."""
    page = open_page()
    example(page, "One person")
    page.locator("#more > button").click()
    fill(page, **{"Maximum seconds": "2"})
    page.evaluate(WATCH)
    page.locator("#make").click()
    assert wait_phase(page, "done", "failed", seconds=900) == "done"
    seen = [each for each in page.evaluate("window.seen") if each["phase"] == "running"]
    widths = [each["width"] for each in seen]
    assert widths == sorted(widths)
    assert len(set(widths)) > 20, "the bar moves between the server's reports"
    middle = seen[len(seen) // 4 : len(seen) // 2]
    assert [each for each in middle if not re.search(r"\d+ (s|min)", each["left"])] == []


@pytest.fixture(scope="module")
def asking_app(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app that asks before every video, on a machine of any speed."""
    folder = tmp_path_factory.mktemp("asking")
    with App(folder, MULTITALK_WEIGHTS=str(weights), ASK_ABOVE_MINUTES="0.0001") as app:
        yield app.wait_open().wait_loaded()


@SCREENS
def test_a_long_video_asks_before_it_starts(screen, open_page, asking_app):
    page = open_page(asking_app.url, **screen)
    jobs = jobs_of(page)
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SLOW)
    page.locator("#make").click()
    question = page.locator(".question")
    question.get_by_text(re.compile("This video takes about .* on this machine")).wait_for()
    wait_visible(page, ".question")
    # as the scroll to the panel, if it is still under way when the answer comes
    page.evaluate("window.scrollTo({top: document.body.scrollHeight, behavior: 'smooth'})")
    page.wait_for_timeout(700)
    wait_visible(page, ".question")
    page.locator("#make:enabled").wait_for()
    question.get_by_role("button", name="Cancel").click()
    question.wait_for(state="hidden")
    assert jobs == set()
    page.locator("#make").click()
    question.get_by_role("button", name="Generate anyway").click()
    wait_phase(page, "waiting", "running")
    question.wait_for(state="hidden")
    page.wait_for_function("document.querySelector('#make-bar .make-bar').dataset.state !== 'asked'")
    # the video's end is not awaited: the first one of an app takes a minute, and the fixture cancels it
    assert len(jobs) == 1


def test_the_page_says_what_demo_weights_can_do(open_page, tmp_path):
    own = tmp_path / "own.png"
    with Image.open(EXAMPLES / "one_person.png") as picture:
        ImageOps.mirror(picture).save(own)
    page = open_page(**PHONE)
    banner = page.locator(".weights")
    banner.get_by_text("they animate drawn faces only").wait_for()
    banner.locator("summary").click()
    banner.get_by_text("NVIDIA GPU").wait_for()
    document = page.request.get(page.evaluate("document.querySelector('.weights a').href"))
    assert "download_models.sh" in document.text()
    page.locator("#picture input[type=file]").set_input_files(str(own))
    line = page.locator("#picture-notice p")
    line.get_by_text("drawn faces only").wait_for()
    bring_sound(page, 1, "one_person.wav")
    be_quick(page, **{"Maximum seconds": "1"})
    make(page)
    page.locator(".job-weights").get_by_text("drawn faces only").wait_for()
    example(page, "One person")
    line.wait_for(state="hidden")  # what the weights are for
