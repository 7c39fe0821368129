"""diffusers' caches during sampling: removed after every clip, with separate state for each branch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from multitalk import GenerationRequest
from multitalk.errors import InvalidInput
from multitalk.request.parts import CacheSpec, describe_error
from multitalk.sampling.cache import MAG_RATIOS, use_cache
from multitalk.sampling.denoise import VelocityModel, denoise
from multitalk.sampling.guidance import BranchConditions, make_calls, make_guidance, needed_branches
from multitalk.sampling.schedule import make_timesteps
from tests.models.test_models import conditions, small_transformer
from tests.numbers import assert_close

STEPS = 8
NOTHING = {
    "first_block": CacheSpec(name="first_block", threshold=0),
    "magcache": CacheSpec(name="magcache", threshold=0),
}
MUCH = {
    "first_block": CacheSpec(name="first_block", threshold=10),
    "magcache": CacheSpec(name="magcache", threshold=10, max_skip_steps=2),
}


@pytest.fixture(scope="module")
def transformer():
    return small_transformer(num_layers=4)


@pytest.fixture
def block_calls(transformer, monkeypatch) -> Callable[[], list[int]]:
    """Count the calls of each block."""
    calls = [0] * len(transformer.blocks)

    def counting(index: int, forward: Callable) -> Callable:
        def counted(*args, **kwargs):
            calls[index] += 1
            return forward(*args, **kwargs)

        return counted

    for index, block in enumerate(transformer.blocks):
        monkeypatch.setattr(block, "forward", counting(index, block.forward))
    return lambda: calls


def sample(
    transformer, cache: CacheSpec | None = None, people: int = 1, seed: int = 3, batched: bool = False
):
    """Sample a clip with three guidance branches."""
    generator = torch.Generator().manual_seed(seed)
    text, image, audio = conditions(transformer, people)
    masks = None
    if people == 2:
        masks = torch.zeros(3, 8)
        masks[0, :3] = masks[1, 3:6] = masks[2, 6:] = 1
    branches = {}
    for branch in needed_branches(5.0, 4.0):
        branches[branch] = BranchConditions(
            text if branch.text else text.flip(1),
            image,
            audio if branch.audio else torch.zeros_like(audio[:, :, :4]),
            masks if branch.audio else None,
        )
    calls = make_calls(branches, batched)
    with torch.inference_mode(), use_cache(transformer, cache, STEPS, "480p"):
        return denoise(
            VelocityModel(transformer, torch.randn(20, 3, 4, 8, generator=generator), calls),
            torch.randn(16, 3, 4, 8, generator=generator),
            make_timesteps(STEPS, 7.0),
            make_guidance(5.0, 4.0, apg=False),
            None,
            lambda: None,
            lambda step: None,
        )


@pytest.mark.parametrize("name", NOTHING)
def test_a_threshold_of_zero_changes_nothing(name, transformer, block_calls):
    plain = sample(transformer)
    expected = list(block_calls())
    assert torch.equal(sample(transformer, NOTHING[name]), plain)
    assert block_calls() == [2 * count for count in expected]


@pytest.mark.parametrize("name", MUCH)
@pytest.mark.parametrize("people", [1, 2])
def test_a_cache_skips_blocks_and_is_removed_afterwards(name, people, transformer, block_calls):
    plain = sample(transformer, people=people)
    before = list(block_calls())
    assert before == [STEPS * 3] * 4
    cached = sample(transformer, MUCH[name], people)
    calls = [now - then for now, then in zip(block_calls(), before, strict=True)]
    assert max(calls[1:]) < STEPS * 3
    assert cached.isfinite().all()
    assert not torch.equal(cached, plain)
    assert not transformer.is_cache_enabled
    assert torch.equal(sample(transformer, people=people), plain), "the next job must run all blocks"


@pytest.mark.parametrize("name", MUCH)
def test_a_clip_reuses_nothing_from_the_previous_clip(name, transformer):
    first = sample(transformer, MUCH[name], seed=3)
    sample(transformer, MUCH[name], seed=4)
    assert torch.equal(sample(transformer, MUCH[name], seed=3), first)


def test_every_branch_has_separate_state(transformer, block_calls):
    """Alternating branches skip the same steps that each would skip alone."""
    sample(transformer, MUCH["first_block"])
    # the first step of each branch runs all blocks, later steps only the first block
    assert block_calls() == [STEPS * 3, 3, 3, 3]
    before = list(block_calls())
    sample(transformer, MUCH["magcache"])
    assert (block_calls()[1] - before[1]) % 3 == 0


def test_a_failed_job_removes_the_cache(transformer):
    with pytest.raises(RuntimeError, match="stop"), use_cache(transformer, MUCH["first_block"], 4, "480p"):
        raise RuntimeError("stop")
    assert not transformer.is_cache_enabled


def test_a_transformer_of_one_block_is_refused():
    with (
        pytest.raises(InvalidInput, match="two blocks"),
        use_cache(small_transformer(num_layers=1), MUCH["magcache"], 4, "480p"),
    ):
        pass


def test_ratios_cover_forty_steps():
    assert {len(ratios) for ratios in MAG_RATIOS.values()} == {40}


@pytest.mark.parametrize("people", [1, 2])
def test_branches_in_one_call_equal_separate_calls(people, transformer, block_calls):
    plain = sample(transformer, people=people)
    before = block_calls()[0]
    batched = sample(transformer, people=people, batched=True)
    # with two people, null audio (one person) needs a separate call
    assert block_calls()[0] - before == STEPS * (1 if people == 1 else 2)
    # other matrix sizes take other kernels, and guidance amplifies what they round: 6 epsilons on AVX-512
    assert_close(batched, plain, 32)


def request(**fields) -> GenerationRequest:
    voice = (np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000)
    return GenerationRequest(image=Image.new("RGB", (80, 80), "teal"), audio=voice, **fields)


def test_a_request_selects_a_cache():
    assert request(cache="magcache").cache == CacheSpec(name="magcache", threshold=0.06)
    assert request(cache={"name": "first_block", "threshold": 0.2}).cache.threshold == 0.2
    assert request(cache={"name": "magcache", "ratios": [1, 0.99]}).cache.ratios == (1.0, 0.99)
    assert request().cache is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cache": "teacache"}, "one of first_block, magcache"),
        ({"cache": {"name": "magcache", "threshold": -1}}, "of at least 0"),
        ({"cache": {"name": "magcache", "threshhold": 1}}, "Did you mean threshold?"),
        ({"cache": {"name": "magcache", "ratios": []}}, "list of numbers"),
        ({"cache": 3}, "not 3"),
        ({"cache": "magcache", "teacache": 0.3}, "one of them"),
    ],
)
def test_an_invalid_cache_gives_a_one_line_error(fields, message):
    with pytest.raises(ValidationError) as caught:
        request(**fields)
    sentence, field = describe_error(caught.value)
    assert message in sentence
    assert field.startswith("cache")
