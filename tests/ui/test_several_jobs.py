"""A browser with several videos: each is found again, whatever is looked at meanwhile."""

from __future__ import annotations

import pytest

from tests.ui.steps import SLOW, be_quick, bring, cancel, choose, example, fill, make, see_a_clip, wait_phase

pytestmark = pytest.mark.slow
SHORT = {"Longest video in seconds": "1.5"}
LONG = {"Steps": "200", "Frames per clip": "81", "Frames that clips share": "25"}


def begin_long(page) -> None:
    """One of whose clips takes minutes: it is cancelled before any is done."""
    for side in ("height", "width"):
        page.locator(f"#own-{side} input").fill("192")
    begin(page, **LONG)


def begin(page, **settings: str) -> None:
    fill(page, **settings)
    page.locator("#make").click()


def urls_asked_for(page) -> list[str]:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    return urls


def latest_job(urls: list[str]) -> str:
    """The address of the job that the page asked about last."""
    return next(url for url in reversed(urls) if "/multitalk/jobs/" in url).split("/clips")[0]


def test_a_result_is_looked_at_while_a_video_is_made(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    first = make(page)
    line = page.locator(".job-other")
    assert not line.is_visible()
    asked = urls_asked_for(page)
    begin(page, **SLOW, **{"Longest video in seconds": "5"})
    see_a_clip(page)
    page.locator(f".card[data-name='{first}']").first.click()
    page.wait_for_selector(f".job[data-phase=done][data-result='{first}']")
    line.get_by_text("A video of yours is being made.").wait_for()
    line.get_by_role("button").click()
    page.wait_for_selector(".job[data-phase=running]")
    assert page.locator(".job-cancel").is_visible()
    assert not line.is_visible()
    page.locator(f".card[data-name='{first}']").first.click()
    page.wait_for_selector(f".job[data-phase=done][data-result='{first}']")
    line.get_by_text("A video of yours is being made.").wait_for()
    page.request.post(f"{latest_job(asked)}/cancel")
    line.get_by_text("A video of yours is ready.").wait_for(timeout=120_000)
    assert page.get_attribute(".job", "data-result") == first, "what is looked at stays"
    line.get_by_role("button").click()
    page.wait_for_function(f"document.querySelector('.job').dataset.result !== '{first}'")
    assert not line.is_visible()
    second = page.get_attribute(".job", "data-result")
    page.locator(f".card[data-name='{second}']").wait_for()  # without a reload


def test_each_of_two_videos_can_be_cancelled(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    begin_long(page)
    page.wait_for_selector(".job[data-phase=running]")
    begin_long(page)
    page.wait_for_selector(".job[data-phase=waiting]")
    line = page.locator(".job-other")
    line.get_by_text("Another video of yours is being made.").wait_for()
    line.get_by_role("button").click()
    page.wait_for_selector(".job[data-phase=running]")
    line.get_by_text("Another video of yours is waiting.").wait_for()
    cancel(page)
    page.get_by_text("Cancelled").wait_for()
    line.get_by_text("A video of yours is being made.").wait_for()
    line.get_by_role("button").click()
    page.wait_for_selector(".job[data-phase=running]")
    cancel(page)
    page.get_by_text("Cancelled").wait_for()
    assert not line.is_visible()


def test_an_earlier_video_is_not_heard_behind_the_next(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    make(page)
    page.evaluate(
        "async () => { const p = document.querySelector('.job-player'); p.loop = true; await p.play(); }"
    )
    begin_long(page)
    page.wait_for_selector(".job[data-phase=running]")
    assert page.evaluate("document.querySelector('.job-player').paused")
    cancel(page)
    assert wait_phase(page, "done", "empty") in ("done", "empty")


def test_a_failure_behind_what_is_looked_at_is_told(open_page):
    page = open_page()
    asked = urls_asked_for(page)
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    result = make(page)
    begin_long(page)
    page.wait_for_selector(".job[data-phase=running]")
    running = latest_job(asked)
    leave_person1_out_of_the_square(page)
    begin(page)
    page.wait_for_selector(".job[data-phase=waiting]")
    choose(page, "One person")
    begin(page)
    line = page.locator(".job-other")
    page.get_by_text("2 videos are before yours").wait_for()
    for now in ("Another video of yours is being made.", "Another video of yours is waiting."):
        line.get_by_text(now).wait_for()
        line.get_by_role("button").click()
    page.get_by_text("one video is before yours").wait_for()
    page.locator(f".card[data-name='{result}']").first.click()
    page.wait_for_selector(f".job[data-result='{result}']")
    page.request.post(f"{running}/cancel")
    line.get_by_text("A video of yours was not made.").wait_for(timeout=120_000)
    line.get_by_role("button").click()
    page.locator(".job[data-phase=failed] .job-error").get_by_text("person1").wait_for()
    line.get_by_text("A video of yours is being made.").wait_for()
    line.get_by_role("button").click()
    cancel(page)
    page.get_by_text("Cancelled").wait_for()


def leave_person1_out_of_the_square(page) -> None:
    """Two people in turns, of whom the first stands where a square video has nothing of the picture."""
    example(page, "Two in turns")
    box = page.locator(".person-box[data-person=person1]")
    box.wait_for()
    for _ in range(40):
        box.press("Shift+ArrowLeft")
