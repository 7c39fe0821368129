"""The time of a job that the page shows between the pipeline's reports."""

from __future__ import annotations

import pytest

from benchmarks.page_progress import seconds_told
from multitalk.pipeline.progress import Progress
from multitalk.ui.job_clock import JobClock, describe_left


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def report(fraction: float, eta: float | None, part: float) -> Progress:
    return Progress("decode", 0, 1, 6, 6, fraction, eta, part)


def test_bar_and_countdown_move_between_two_reports():
    time = Time()
    clock = JobClock(time)
    assert clock.show().left is None
    clock.note(report(0.2, 80.0, 10.0))
    shown = []
    for second in range(10):
        time.now = float(second)
        shown.append(clock.show())
    assert [each.left for each in shown] == pytest.approx([80 - second for second in range(10)])
    assert shown[5].fraction == pytest.approx(0.2 + 0.8 * 5 / 80)
    time.now = 60.0
    late = clock.show()
    assert 0.2 < shown[9].fraction < late.fraction < 0.31, "an unfinished part does not count as done"


def test_the_countdown_never_jumps_up_for_a_small_correction():
    time = Time()
    clock = JobClock(time)
    clock.note(report(0.2, 80.0, 10.0))
    lefts = [clock.show().left]
    for second, eta in enumerate((90.0, 85.0, 92.0, 80.0, 84.0, 70.0), 1):
        time.now = float(second)
        clock.note(report(0.2, eta, 10.0))
        shown = clock.show()
        lefts.append(shown.left)
        assert not shown.slower
    assert lefts == sorted(lefts, reverse=True)


def test_a_large_correction_is_explained():
    time = Time()
    clock = JobClock(time)
    clock.note(report(0.2, 20.0, 2.0))
    clock.show()
    time.now = 1.0
    clock.note(report(0.2, 100.0, 10.0))
    shown = clock.show()
    assert (shown.left, shown.slower) == (100.0, True)
    time.now = 10.0
    assert not clock.show().slower


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (1.0, ""),
        (3.2, "about 3 s left"),
        (18.7, "about 19 s left"),
        (22.0, "about 20 s left"),
        (54.0, "about 55 s left"),
        (58.0, "about 1 min left"),
        (66.0, "about 1 min 10 s left"),
        (118.0, "about 2 min left"),
        (680.0, "about 11 min left"),
        (7200.0, "about 2.0 h left"),
    ],
)
def test_the_time_left_in_words(seconds, words):
    assert describe_left(seconds) == words


def test_the_words_are_true_at_every_time():
    for tenths in range(16, 50_000):
        told = seconds_told(describe_left(tenths / 10))
        assert told == pytest.approx(tenths / 10, rel=0.34, abs=0.0), "rounding alone says no wrong time"
