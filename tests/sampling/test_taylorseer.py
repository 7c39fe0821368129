"""TaylorSeer: which steps are computed, and how the others are extrapolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.errors import InvalidInput
from multitalk.pipeline.planning import workload_of
from multitalk.request.parts import CacheSpec
from multitalk.request.presets import PRESETS
from multitalk.sampling.guidance import Branch, needed_branches
from multitalk.sampling.schedule import make_timesteps
from multitalk.sampling.taylorseer import ExtrapolatingModel, computed_share, extrapolations
from multitalk.weights.folders import EMBEDDED_FOLDER
from tests.demo.paths import EXAMPLES

STEPS = 20
TIMESTEPS = make_timesteps(STEPS, 5.0)
BRANCH = needed_branches(1.0, 1.0)[0]
Function = Callable[[torch.Tensor], torch.Tensor]


def spec(**options) -> CacheSpec:
    return CacheSpec(name="taylorseer", **options)


class Curve:
    """Predicts a function of the timestep, and counts its calls."""

    calls: Sequence[int] = (0,)

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.function, self.steps = function, []

    def predict(self, latents, timestep, step: int, call: int) -> dict[Branch, torch.Tensor]:
        self.steps.append(step)
        return {BRANCH: self.function(timestep / 1000) * torch.ones(2, 1, 1, 1)}


def followed(
    cache: CacheSpec, function: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[Curve, torch.Tensor]:
    """Return the curve, and its predictions at all steps."""
    curve = Curve(function)
    model = ExtrapolatingModel(curve, extrapolations(cache, TIMESTEPS))
    outputs = [
        model.predict(torch.empty(0), time, step, 0)[BRANCH] for step, time in enumerate(TIMESTEPS[:-1])
    ]
    return curve, torch.stack(outputs)[:, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("steps", "interval", "computed"),
    [
        (4, 3, [0, 1, 2, 3]),
        (6, 3, [0, 1, 2, 3, 4, 5]),
        (8, 3, [0, 1, 2, 3, 4, 7]),
        (20, 3, [0, 1, 2, 3, 4, 7, 10, 13, 16, 19]),
        (20, 4, [0, 1, 2, 3, 4, 8, 12, 16, 19]),
        (8, 1, list(range(8))),
    ],
)
def test_computed_steps(steps: int, interval: int, computed: list[int]) -> None:
    plan = extrapolations(spec(interval=interval), make_timesteps(steps, 5.0))
    assert [step for step, factors in enumerate(plan) if factors is None] == computed
    assert computed_share(spec(interval=interval), steps) == pytest.approx(len(computed) / steps)


def test_steps_at_the_same_time_are_computed() -> None:
    plan = extrapolations(spec(), make_timesteps(9, 1e-300))
    assert plan == [None] * 9


def test_order_0_repeats_the_last_output() -> None:
    curve, outputs = followed(spec(order=0), lambda time: time.square())
    assert curve.steps == [0, 1, 2, 3, 4, 7, 10, 13, 16, 19]
    for step, output in enumerate(outputs):
        source = max(number for number in curve.steps if number <= step)
        assert output == (TIMESTEPS[source] / 1000).square(), step


@pytest.mark.parametrize("order", [1, 2, 3])
def test_polynomials_up_to_the_order_are_exact(order: int) -> None:
    times = TIMESTEPS[:-1] / 1000
    for degree in range(order + 1):
        _, outputs = followed(spec(order=order), lambda time, degree=degree: 3 - 2 * time**degree)
        assert torch.allclose(outputs, 3 - 2 * times**degree, atol=3e-6), degree
    _, outputs = followed(spec(order=order), lambda time: time ** (order + 1))
    assert (outputs - times ** (order + 1)).abs().max() > 1e-4, "a higher degree is not exact"


def test_only_what_is_needed_is_kept() -> None:
    model = ExtrapolatingModel(Curve(lambda time: time), extrapolations(spec(order=2), TIMESTEPS))
    for step, time in enumerate(TIMESTEPS[:-1]):
        model.predict(torch.empty(0), time, step, 0)
        assert len(model._outputs[0]) <= 3 + (step < 5), step


@pytest.fixture(scope="module")
def pipeline() -> MultiTalkPipeline:
    """The demo weights: a trained model, whose output follows a smooth curve."""
    return MultiTalkPipeline.from_pretrained(EMBEDDED_FOLDER, device="cpu", dtype=torch.float32)


def request(**fields) -> GenerationRequest:
    settings = {"size": (64, 64), "steps": 40, "frames_per_clip": 21, "motion_frames": 5, "max_seconds": 0.8}
    files = {"image": EXAMPLES / "one_person.png", "audio": EXAMPLES / "one_person.wav"}
    return GenerationRequest(**files, **(settings | {"text_guidance": 1.0, "audio_guidance": 2.0} | fields))


def latents(pipeline: MultiTalkPipeline, **fields) -> torch.Tensor:
    return next(iter(pipeline.stream(request(**fields)))).latents


def test_a_clip_is_close_with_less_than_half_of_the_calls(pipeline, monkeypatch) -> None:
    calls = []
    forward = pipeline.components.transformer.forward

    def counted(*args, **kwargs):
        calls.append(1)
        return forward(*args, **kwargs)

    monkeypatch.setattr(pipeline.components.transformer, "forward", counted)
    plain = latents(pipeline)
    assert len(calls) == 2 * 40
    errors = []
    for order in (0, 1):
        calls.clear()
        cached = latents(pipeline, cache={"name": "taylorseer", "order": order})
        assert len(calls) == 2 * 17
        errors.append((cached - plain).norm() / plain.norm())
    assert errors[1] < 0.02
    assert errors[1] < 0.6 * errors[0], "a line is closer than a repeated output"


def test_every_step_of_a_short_schedule_is_computed(pipeline) -> None:
    plain = latents(pipeline, steps=5)
    assert torch.equal(latents(pipeline, steps=5, cache="taylorseer"), plain)
    assert torch.equal(latents(pipeline, steps=5, cache={"name": "taylorseer", "interval": 1}), plain)


def test_the_plan_counts_the_calls_and_no_residuals() -> None:
    plain, cached = (
        workload_of(request(cache=cache), PRESETS["quality"], 1.0) for cache in (None, "taylorseer")
    )
    assert (plain.calls, cached.calls) == (2 * 40, 2 * 17)
    assert not cached.keeps_residuals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 4}, "cache order must be a whole number"),
        ({"interval": 0}, "cache interval must be a whole number"),
        ({"threshold": 0.1}, r"cache threshold is not for taylorseer \(0\.1\)\. Set its interval"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        CacheSpec.checked({"name": "taylorseer", **options})
