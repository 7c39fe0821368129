"""The forecast of a job's time, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from multitalk.conditioning.timeline import clip_spans
from multitalk.models.vae_stages import chunk_weights, latent_frames
from multitalk.pipeline.forecast import DOUBT, Forecast, StageCosts, Times, expected_progress
from multitalk.pipeline.work import clip_amounts, count_work, decoded_latents, encoded_chunks, step_weights
from multitalk.runtime.memory import Workload
from multitalk.runtime.sizes import ModelSizes
from multitalk.ui.estimates import UNMEASURED

SPANS = clip_spans(150, 150, 81, 25)
STEPS = step_weights(6, None)
CLIPS = clip_amounts(SPANS, [encoded_chunks(span, 81) for span in SPANS], STEPS)
TRUE = {"encode": 0.5, "denoise": 0.7, "decode": 0.9, "video": 0.5}  # seconds of a unit, as on a CPU


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def steadily(seconds: float) -> float:
    return 1.0


def run(
    costs: StageCosts, clock: Clock, slowness: Callable[[float], float] = steadily
) -> list[tuple[float, Times]]:
    """Run a job whose units take their true times; return each report with its time.

    Args:
        costs: The expectations.
        clock: Moved by the job.
        slowness: Factor of the time that a unit takes which starts at this second.
    """
    forecast, seen = Forecast(costs, clock), []

    def note(times: Times) -> None:
        seen.append((clock.now, times))

    note(forecast.start("speech", 0))
    clock.now += 2
    forecast.start_clips(CLIPS)
    for span, clip in zip(SPANS, CLIPS, strict=True):
        parts = {
            "encode": chunk_weights(latent_frames(span.skip or 1), 21),
            "denoise": STEPS,
            "decode": [1.0] * decoded_latents(span),
        }
        for stage, units in clip.items():
            weights = parts.get(stage, [1.0])
            note(forecast.start(stage, span.index, weights))
            for number in range(1, len(weights) + 1):
                seconds = TRUE[stage] * units * weights[number - 1] / sum(weights)
                clock.now += seconds * slowness(clock.now)
                note(forecast.finish(number))
    note(forecast.end())
    return seen


def truth_at(share: float, seen: list[tuple[float, Times]]) -> tuple[float | None, float]:
    """Return the forecast at a share of the job's time, and the seconds that were really left."""
    end = seen[-1][0]
    at, times = max((entry for entry in seen if entry[0] <= share * end), key=lambda entry: entry[0])
    return times.left, end - at


def in_seconds(doubt: float = DOUBT, **units: float) -> StageCosts:
    clips = sum(units[stage] * clip[stage] for clip in CLIPS for stage in units)
    return StageCosts(units, clips, preparation=2.0, doubt=doubt)


@pytest.mark.parametrize(
    "costs",
    [
        in_seconds(encode=0.5, denoise=0.7, decode=0.9),
        in_seconds(encode=0.25, denoise=0.3, decode=0.4),  # a machine that is busy
        in_seconds(encode=1.0, denoise=2.0, decode=0.5),  # wrong proportions
        StageCosts({}),  # nothing is known before the clips start
        StageCosts({"encode": 3e9, "denoise": 2e9, "decode": 1e9}),  # only operations are known
    ],
)
def test_the_time_left_is_right_during_the_whole_job(costs):
    clock = Clock()
    if not costs.units:
        costs = StageCosts({"encode": 1.0, "denoise": 1.0, "decode": 1.0})
    seen = run(costs, clock)
    fractions = [times.fraction for _, times in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    for share in (0.25, 0.5, 0.75):
        left, truth = truth_at(share, seen)
        assert left == pytest.approx(truth, rel=0.5)
    total = seen[-1][0]
    moved = [at for (at, times), (_, later) in pairwise(seen) if later.fraction > times.fraction]
    started = next(at for at, times in seen if times.left is not None)
    assert max(after - before for before, after in pairwise([started, *moved, total])) < 0.05 * total
    at_half = truth_at(0.5, seen)[1] / total
    assert at_half == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("before", "after"), [(3.0, 1.0), (1.0, 3.0)], ids=["faster", "slower"])
@pytest.mark.parametrize("changes_at", [10.0, 40.0])
def test_the_time_left_follows_the_machines_speed(before, after, changes_at):
    """Another program starts or ends: 15 seconds later, the last half minute is forecast right."""
    costs = in_seconds(encode=0.5, denoise=0.7, decode=0.9)
    seen = run(costs, Clock(), lambda second: before if second < changes_at else after)
    end = seen[-1][0]
    later = [(at, times) for at, times in seen[:-1] if at > max(changes_at + 15, end - 30)]
    assert later
    for at, times in later:
        assert times.left == pytest.approx(end - at, rel=0.5, abs=1.0)


@pytest.mark.parametrize("slower", [0.2, 5.0])
def test_a_first_job_is_forecast_right_after_its_first_step(slower):
    """A fresh server knows the proportions of the stages, but the speed of the machine only roughly."""
    true = {stage: TRUE[stage] for stage in ("encode", "denoise", "decode")}
    costs = in_seconds(UNMEASURED, **{stage: seconds * slower for stage, seconds in true.items()})
    seen = run(costs, Clock())
    end, first_step = seen[-1][0], 2.0 + TRUE["encode"] * CLIPS[0]["encode"] + TRUE["denoise"]
    assert first_step < 0.1 * end
    for at, times in seen[:-1]:
        if at >= first_step - 1e-6:
            assert times.left == pytest.approx(end - at, rel=0.35, abs=2.0)


def test_known_costs_are_exact_and_spread_over_decoding():
    seen = run(in_seconds(encode=0.5, denoise=0.7, decode=0.9), Clock())
    total = seen[-1][0]
    for at, times in seen[:-1]:
        assert times.left == pytest.approx(total - at, abs=1.6), "the video stage is not expected at first"
        assert times.fraction == pytest.approx(at / total, abs=0.05)


def test_skipped_steps_are_expected_to_be_short():
    weights = step_weights(4, [True, False, False, True])
    forecast, clock = Forecast(StageCosts({"denoise": 1.0}), (clock := Clock())), clock
    forecast.start_clips([{"denoise": sum(weights)}])
    forecast.start("denoise", 0, weights)
    clock.now = 10.0
    assert forecast.finish(1).left == pytest.approx(10.0, rel=0.1), "one whole step, two skipped ones"


def test_a_part_that_takes_longer_keeps_progressing():
    shares = [expected_progress(seconds, 10.0) for seconds in (0, 5, 9, 12, 20, 40)]
    assert shares[:3] == [0, 5, 9]
    assert shares == sorted(set(shares))
    assert shares[-1] <= 10
    assert expected_progress(3.0, 0.0) == 0


def test_work_counts_what_the_clips_do():
    workload = Workload(height=160, width=160, frames=81, calls=12, branches=2)
    work = count_work(ModelSizes(), workload, SPANS)
    assert (work.amounts["denoise"], work.amounts["decode"]) == (18, 21 + 21 + 11)
    for stage in ("encode", "denoise", "decode"):
        assert sum(clip[stage] for clip in CLIPS) == pytest.approx(work.amounts[stage])
    assert CLIPS[1]["encode"] > 2 * CLIPS[0]["encode"], "25 motion frames instead of one image"
    assert work.total("denoise") == 18 * work.units["denoise"]
