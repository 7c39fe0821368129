"""The scale of the audio: a factor of the audio attention's output, by person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from multitalk.models.audio_attention import AudioCrossAttention
from multitalk.models.transformer import MultiTalkTransformer
from tests.models.test_models import conditions, small_transformer

LATENTS = torch.randn(1, 36, 3, 4, 8, generator=torch.Generator().manual_seed(2))
MASKS = torch.tensor([[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 2 + [0.0] * 2, [0.0] * 6 + [1.0] * 2])


def predict(transformer: MultiTalkTransformer, people: int, scales: list[float] | None) -> torch.Tensor:
    masks = MASKS if people > 1 else None
    factors = None if scales is None else torch.tensor(scales)
    with torch.inference_mode():
        return transformer(
            LATENTS,
            torch.tensor([500.0]),
            *conditions(transformer, people),
            person_masks=masks,
            audio_scales=factors,
        )


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """Record the output of every audio attention, a copy of it, and the labels."""
    calls: list[tuple[torch.Tensor, ...]] = []
    forward = AudioCrossAttention.forward

    def record(self, hidden_states, audio_hidden_states, labels=None, people=1, shard=None):
        output = forward(self, hidden_states, audio_hidden_states, labels, people, shard)
        calls.append((output, output.clone(), labels))
        return output

    with monkeypatch.context() as patch:
        patch.setattr(AudioCrossAttention, "forward", record)
        yield calls


def test_each_region_has_the_scale_of_its_person(monkeypatch) -> None:
    transformer = small_transformer()
    with recorded(monkeypatch) as calls:
        predict(transformer, 2, [0.5, 2.0, 1.0])
    assert len(calls) == 2
    for scaled, plain, labels in calls:
        expected = torch.where(labels < 10, 0.5, torch.where(labels >= 20, 2.0, 1.0))
        assert {0.5, 2.0, 1.0} >= set(expected.unique().tolist()) > {1.0}
        assert torch.equal(scaled, plain * expected[..., None])


def test_one_person_has_one_scale(monkeypatch) -> None:
    transformer = small_transformer()
    with recorded(monkeypatch) as calls:
        predict(transformer, 1, [0.25])
    for scaled, plain, labels in calls:
        assert labels is None
        assert torch.equal(scaled, plain * 0.25)


@pytest.mark.parametrize("people", [1, 2])
def test_no_scale_is_no_multiplication_and_a_scale_of_one_changes_nothing(people, monkeypatch) -> None:
    transformer = small_transformer()
    plain = predict(transformer, people, None)
    ones = [1.0] * (3 if people > 1 else 1)
    assert torch.equal(predict(transformer, people, ones), plain)
    silent = predict(transformer, people, [0.0] * len(ones))
    assert not torch.allclose(silent, plain)
    multiplied: list[bool] = []
    monkeypatch.setattr(torch.Tensor, "mul_", lambda self, other: multiplied.append(True) or self)
    predict(transformer, people, None)
    assert not multiplied
    predict(transformer, people, ones)
    assert len(multiplied) == 2
