"""How true the page's progress is: ``python -m benchmarks.page_progress [URL]``, with a page that is open.

Generates the example "One person" in Chromium, and prints the longest standstill of the bar as a share of the
job's time, and the told time left relative to the true one at 25, 50 and 75 % of the job.
"""

from __future__ import annotations

import itertools
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

WATCH = """() => {
  window.seen = [];
  setInterval(() => window.seen.push({
    at: Date.now() / 1000,
    phase: document.querySelector('.job').dataset.phase,
    width: parseFloat(document.querySelector('.job-bar > i').style.width) || 0,
    left: document.querySelector('.job-left').textContent,
  }), 100);
}"""
SHARES = (0.25, 0.5, 0.75)
JOB = re.compile(r"http.*/multitalk/jobs/\w+$")


@dataclass(frozen=True)
class Truth:
    """How true the progress of a job was.

    Attributes:
        seconds: The job's time.
        standstill: Longest standstill of the bar, as a share of the job's time.
        told: For each of `SHARES`, the told time left relative to the true one.
    """

    seconds: float
    standstill: float
    told: tuple[float, ...]


def seconds_told(words: str) -> float:
    """Return the seconds of a text such as "about 1 min 20 s left"."""
    amounts = {unit: float(number) for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", words)}
    return 3600 * amounts.get("h", 0) + 60 * amounts.get("min", 0) + amounts.get("s", 0)


def truth_of(samples: list[dict[str, Any]], own_time: Callable[[float], float] = float) -> Truth:
    """Judge the progress of a job.

    Args:
        samples: What `WATCH` has recorded.
        own_time: Returns the job's own time in seconds at a time of the samples. Another clock than that of
            the samples, such as the processor time of the server, does not count what other programs take.
            The true time left is then a range: at the pace that the job had until then, and as it went on.
    """
    seen = [sample | {"own": own_time(sample["at"])} for sample in samples if sample["phase"] == "running"]
    first, last = seen[0], seen[-1]
    whole = last["own"] - first["own"]
    moves = [first["own"], *(b["own"] for a, b in itertools.pairwise(seen) if b["width"] > a["width"])]
    longest = max(after - before for before, after in itertools.pairwise([*moves, last["own"]]))
    told = []
    for share in SHARES:
        now = next(sample for sample in seen if sample["own"] >= first["own"] + share * whole)
        pace = (now["at"] - first["at"]) / (now["own"] - first["own"])
        low, high = sorted([last["at"] - now["at"], (last["own"] - now["own"]) * pace])
        shown = seconds_told(now["left"])
        told.append(shown / min(max(shown, low), high))
    return Truth(last["at"] - first["at"], longest / whole, tuple(told))


@contextmanager
def canceled_at_the_end(page: Page) -> Iterator[None]:
    """Cancel the page's job at the end, also if this program is stopped; a finished job is not changed."""
    jobs: set[str] = set()
    page.on("request", lambda request: jobs.update(JOB.findall(request.url)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cookies = {}
    try:
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        yield
    finally:  # without the browser, which Ctrl-C ends as well
        for job in jobs:
            httpx.post(f"{job}/cancel", cookies=cookies)


def main(url: str) -> None:
    """Generate a video and print the ratios."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(url)
        page.locator(".status[data-state=ready]").wait_for(timeout=300_000)
        page.get_by_text("One person").first.click()
        page.locator("#picture img").first.wait_for()
        page.wait_for_timeout(2000)  # the audio
        page.evaluate(WATCH)
        with canceled_at_the_end(page):
            page.locator("#make").click()
            page.wait_for_selector(".job[data-phase=done]", timeout=1_800_000)
        truth = truth_of(page.evaluate("window.seen"))
        browser.close()
    print(f"{truth.seconds:.1f} s; longest standstill {truth.standstill:.1%} of it")
    for share, told in zip(SHARES, truth.told, strict=True):
        print(f"at {share:.0%}: {told:.2f} of the true time left was shown")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7860")
