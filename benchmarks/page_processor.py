"""What the page takes of a processor that also runs the model: ``python -m benchmarks.page_processor``.

Opens the page in headless Chromium without a GPU, and prints the processor time of the server and of the
browser, in percent of a core: without a job, while a job has no finished clip, and while its first clip
plays.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from tests.ui.app import CHROMIUM, CHROMIUM_ARGS, App
from tests.ui.steps import SLOW, be_quick, bring, cancel, see_a_clip, wait_phase, wait_ready


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and its children."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def measure(name: str, seconds: float, server: psutil.Process, browser: psutil.Process) -> None:
    """Print a row of the table."""
    processes = (server, browser)
    before = [processor_seconds(process) for process in processes]
    time.sleep(seconds)
    shares = [
        (processor_seconds(process) - start) / seconds
        for process, start in zip(processes, before, strict=True)
    ]
    print(f"{name:24} {shares[0]:7.0%} {shares[1]:8.0%}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="time of each measurement")
    options = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    with folder, App(Path(folder.name)) as app, sync_playwright() as playwright:
        app.wait_open().wait_loaded()
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        children = psutil.Process().children(recursive=True)
        browser = next(each for each in children if "chromium" in each.exe())  # the first is the parent
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(app.url)
        wait_ready(page)
        server = psutil.Process(app.process.pid)
        print(f"{'':24} {'server':>7} {'browser':>8}")
        time.sleep(2)  # of what the page still loads
        measure("no job", options.seconds, server, browser)
        bring(page, "one_person.png", "one_person.wav")
        be_quick(page, **SLOW)
        page.locator("#make").click()
        wait_phase(page, "running")
        measure("job without a clip", options.seconds, server, browser)
        see_a_clip(page)
        measure("job whose clip plays", options.seconds, server, browser)
        cancel(page)


if __name__ == "__main__":
    main()
