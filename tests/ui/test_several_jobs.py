"""A browser with several jobs: the page links to each of them while it shows another."""

from __future__ import annotations

import pytest

from tests.ui.steps import (
    SLOW,
    be_quick,
    bring,
    cancel,
    choose,
    example,
    fill,
    make,
    see_a_clip,
    wait_phase,
)

pytestmark = pytest.mark.slow
SHORT = {"Maximum seconds": "1.5"}
LONG = {"Steps": "60", "Frames per clip": "81", "Motion frames": "25"}


def begin_long(page) -> None:
    """Start a job whose clips take minutes, so that it is canceled before the first."""
    for side in ("height", "width"):
        page.locator(f"#custom-{side} input").fill("192")
    begin(page, **LONG)


def begin(page, **settings: str) -> None:
    """Start a job, or add another to the unfinished ones."""
    fill(page, **settings)
    page.locator("#make:enabled, .make-another:visible").first.click()


def record_urls(page) -> list[str]:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    return urls


def latest_job(urls: list[str]) -> str:
    """Return the URL of the job that the page polled last."""
    return next(url for url in reversed(urls) if "/multitalk/jobs/" in url).split("/clips")[0]


def test_a_result_is_shown_while_a_video_is_generated(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    first = make(page)
    line = page.locator(".job-other")
    assert not line.is_visible()
    urls = record_urls(page)
    begin(page, **SLOW, **{"Maximum seconds": "5"})
    see_a_clip(page)
    page.locator(f".card[data-name='{first}']").first.click()
    page.wait_for_selector(f".job[data-phase=done][data-result='{first}']")
    line.get_by_text("Your video is being generated.").wait_for()
    line.get_by_role("button").click()
    page.wait_for_selector(".job[data-phase=running]")
    assert page.locator(".job-cancel").is_visible()
    assert not line.is_visible()
    page.locator(f".card[data-name='{first}']").first.click()
    page.wait_for_selector(f".job[data-phase=done][data-result='{first}']")
    line.get_by_text("Your video is being generated.").wait_for()
    page.request.post(f"{latest_job(urls)}/cancel")
    line.get_by_text("Your video is ready.").wait_for(timeout=120_000)
    assert page.get_attribute(".job", "data-result") == first, "the selected result stays"
    line.get_by_role("button").click()
    page.wait_for_function(f"document.querySelector('.job').dataset.result !== '{first}'")
    assert not line.is_visible()
    second = page.get_attribute(".job", "data-result")
    page.locator(f".card[data-name='{second}']").wait_for()  # without a reload


def test_each_of_two_jobs_can_be_canceled(open_page):
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    begin_long(page)
    page.wait_for_selector(".job[data-phase=running]")
    begin_long(page)
    page.wait_for_selector(".job[data-phase=waiting]")
    line = page.locator(".job-other")
    line.get_by_text("Your other video is being generated.").wait_for()
    line.get_by_role("button").click()
    page.wait_for_selector(".job[data-phase=running]")
    line.get_by_text("Your other video is waiting.").wait_for()
    cancel(page)
    page.get_by_text("Canceled").wait_for()
    line.get_by_text("Your video is being generated.").wait_for()
    line.get_by_role("button").click()
    page.wait_for_selector(".job[data-phase=running]")
    cancel(page)
    page.get_by_text("Canceled").wait_for()
    assert not line.is_visible()


def test_an_earlier_video_stops_playing(open_page):
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


def test_a_failure_in_the_background_is_shown(open_page):
    page = open_page()
    urls = record_urls(page)
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **SHORT)
    result = make(page)
    begin_long(page)
    page.wait_for_selector(".job[data-phase=running]")
    running = latest_job(urls)
    leave_person1_out_of_the_square(page)
    begin(page)
    page.wait_for_selector(".job[data-phase=waiting]")
    choose(page, "One person")
    page.get_by_role("button", name="Find faces again").click()  # the moved box would be the speaker's
    begin(page)
    line = page.locator(".job-other")
    page.get_by_text("2 videos are ahead of yours").wait_for()
    for now in ("Your other video is being generated.", "Your other video is waiting."):
        line.get_by_text(now).wait_for()
        line.get_by_role("button").click()
    page.get_by_text("1 video is ahead of yours").wait_for()
    page.locator(f".card[data-name='{result}']").first.click()
    page.wait_for_selector(f".job[data-result='{result}']")
    page.request.post(f"{running}/cancel")
    line.get_by_text("Your video failed.").wait_for(timeout=120_000)
    line.get_by_role("button").click()
    page.locator(".job[data-phase=failed] .job-error").get_by_text("Person 1").wait_for()
    line.get_by_text("Your video is being generated.").wait_for()
    line.get_by_role("button").click()
    cancel(page)
    page.get_by_text("Canceled").wait_for()


def leave_person1_out_of_the_square(page) -> None:
    """Move person 1's box to where a square video is cropped."""
    example(page, "Two in turns")  # resets the settings
    page.locator("#size input").click()
    page.get_by_role("option", name="Custom height and width").click()
    for side in ("height", "width"):
        page.locator(f"#custom-{side} input").fill("192")
    fill(page, **LONG | SHORT)
    box = page.locator(".person-box[data-person=person1]")
    box.wait_for()
    for _ in range(40):
        box.press("Shift+ArrowLeft")
