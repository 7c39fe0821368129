"""Guidance, TeaCache and motion frames against docs/MODEL.md, beyond the recorded numbers."""

from __future__ import annotations

import pytest
import torch

from multitalk.request.presets import PRESETS
from multitalk.sampling.cache import computed_steps
from multitalk.sampling.guidance import COND, DROP_AUDIO, DROP_TEXT, UNCOND, make_guidance, needed_branches
from multitalk.sampling.schedule import MotionFrames, make_timesteps


@pytest.mark.parametrize(
    ("text", "audio", "branches"),
    [
        (5.0, 4.0, (COND, DROP_TEXT, UNCOND)),
        (1.0, 2.0, (COND, DROP_AUDIO)),
        (5.0, 1.0, (COND, DROP_TEXT)),
        (1.0, 1.0, (COND,)),
    ],
)
def test_a_step_predicts_only_the_branches_that_its_guidance_needs(text, audio, branches):
    assert needed_branches(text, audio) == branches


@pytest.mark.parametrize("text", [1.0, 5.0])
@pytest.mark.parametrize("audio", [1.0, 4.0])
def test_omitted_branches_do_not_change_the_result(text, audio):
    generator = torch.Generator().manual_seed(0)
    cond, drop_text, uncond, drop_audio = (torch.randn(16, 2, 4, 4, generator=generator) for _ in range(4))
    predictions = {COND: cond, DROP_TEXT: drop_text, UNCOND: uncond, DROP_AUDIO: drop_audio}
    guidance = make_guidance(text, audio, apg=False)
    velocity = guidance.combine({branch: predictions[branch] for branch in guidance.branches})
    if text == 1:
        expected = drop_audio + audio * (cond - drop_audio)
    else:
        expected = uncond + text * (cond - drop_text) + audio * (drop_text - uncond)
    torch.testing.assert_close(velocity, expected, rtol=1e-5, atol=1e-5)


def test_projected_guidance_without_guidance_is_the_prediction():
    cond = torch.randn(16, 2, 4, 4)
    assert torch.equal(make_guidance(1.0, 1.0, apg=True).combine({COND: cond}), cond)


class StepByStepTeaCache:
    """The rule of docs/MODEL.md, section 5, applied during sampling."""

    def __init__(self, threshold: float, resolution: str) -> None:
        self.threshold = threshold
        self.coefficients = {
            "480p": (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
            "720p": (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
        }[resolution]
        self.accumulated = 0.0
        self.previous: torch.Tensor | None = None
        self.steps = 0

    def runs_the_blocks(self, modulation: torch.Tensor) -> bool:
        if self.previous is not None:
            change = ((modulation - self.previous).abs().mean() / self.previous.abs().mean()).item()
            self.accumulated += sum(
                factor * change**power for power, factor in enumerate(reversed(self.coefficients))
            )
        runs = self.steps < 5 or self.accumulated >= self.threshold
        if runs:
            self.accumulated = 0.0
        self.previous, self.steps = modulation, self.steps + 1
        return runs


@pytest.mark.parametrize("resolution", ["480p", "720p"])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("preset", PRESETS)
def test_teacache_schedule_equals_the_step_by_step_rule(preset, threshold, resolution):
    steps, shift = PRESETS[preset].steps, PRESETS[preset].shift[resolution]
    times = make_timesteps(steps, shift)[:-1] / 1000
    modulations = torch.stack([torch.sin(torch.arange(1, 97) * time / 9) + 0.5 for time in times])[:, None]
    computed = computed_steps(modulations, threshold, resolution)
    rule = StepByStepTeaCache(threshold, resolution)
    assert computed == [rule.runs_the_blocks(modulation) for modulation in modulations]
    assert computed[:5] == [True] * min(5, steps)
    assert threshold != 0.5 or preset != "quality" or not all(computed), "one case must skip steps"


def test_motion_frames_are_clean_after_the_last_step_but_still_draw_noise():
    latents, motion = torch.randn(16, 21, 2, 2), torch.randn(16, 7, 2, 2)
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    result = MotionFrames(motion, generator).apply(latents, torch.tensor(0.0))
    assert torch.equal(result[:, :7], motion)
    assert torch.equal(result[:, 7:], latents[:, 7:])
    assert not torch.equal(generator.get_state(), before)
