"""How true the bar and the told time left are over whole demo jobs, from the first one of a fresh server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.page_progress import WATCH, truth_of
from tests.ui.app import App
from tests.ui.screens import SCREENS
from tests.ui.steps import example, wait_phase

pytestmark = pytest.mark.slow


class ProcessorTime:
    """The processor time of a server: a busy machine stops it as it stops the server."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._stop = process, threading.Event()
        self.times: list[tuple[float, float]] = []  # seconds since the epoch, processor time

    @contextmanager
    def record(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            used = self._process.cpu_times()
            self.times.append((time.time(), used.user + used.system))

    def at(self, epoch: float) -> float:
        moments, used = zip(*self.times, strict=True)
        return float(np.interp(epoch, moments, used))


@pytest.fixture
def fresh_app(weights: Path, tmp_path: Path) -> Iterator[App]:
    """An app that has not generated a video."""
    with App(tmp_path, MULTITALK_WEIGHTS=str(weights)) as app:
        yield app.wait_open().wait_loaded()


def test_the_progress_of_the_first_jobs_is_true(fresh_app, open_page):
    """A job on each screen; before the first one, nothing is known of a job's time."""
    for name, screen in SCREENS.items():
        page = open_page(fresh_app.url, **screen)
        example(page, "One person")
        page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
        page.evaluate(WATCH)
        clock = ProcessorTime(psutil.Process(fresh_app.process.pid))
        with clock.record():
            page.locator("#make").click()
            assert wait_phase(page, "done", "failed", seconds=1800) == "done"
        truth = truth_of(page.evaluate("window.seen"), clock.at)
        print(name, truth)
        assert truth.standstill <= 0.05, (name, truth)
        assert truth.told == pytest.approx((1, 1, 1), abs=0.5), (name, truth)
