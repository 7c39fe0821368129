"""How true the page's progress is: ``python -m benchmarks.page_progress [URL]``, with a page that is open.

Generates the example "One person" in Chromium, and prints the longest standstill of the bar as a share of the
job's time, and the told time left relative to the true one at 25, 50 and 75 % of the job.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sys

from playwright.sync_api import sync_playwright

WATCH = """() => {
  window.seen = [];
  setInterval(() => window.seen.push({
    at: performance.now() / 1000,
    phase: document.querySelector('.job').dataset.phase,
    width: parseFloat(document.querySelector('.job-bar > i').style.width) || 0,
    left: document.querySelector('.job-left').textContent,
  }), 100);
}"""


def seconds_told(words: str) -> float:
    """Return the seconds of a text such as "about 1 min 20 s left"."""
    amounts = {unit: float(number) for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", words)}
    return 3600 * amounts.get("h", 0) + 60 * amounts.get("min", 0) + amounts.get("s", 0)


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
        page.locator("#make").click()
        page.wait_for_selector(".job[data-phase=done]", timeout=1_800_000)
        seen = [each for each in page.evaluate("window.seen") if each["phase"] == "running"]
        browser.close()
    begin, end = seen[0]["at"], seen[-1]["at"]
    moves = [begin, *(b["at"] for a, b in itertools.pairwise(seen) if b["width"] > a["width"]), end]
    longest = max(after - before for before, after in itertools.pairwise(moves))
    print(f"{end - begin:.1f} s; longest standstill {longest / (end - begin):.1%} of it")
    for share in (0.25, 0.5, 0.75):
        now = begin + share * (end - begin)
        shown = seconds_told(next(each for each in seen if each["at"] >= now)["left"])
        print(f"at {share:.0%}: {shown / (end - now):.2f} of the true time left was shown")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7860")
