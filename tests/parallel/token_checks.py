"""Checks that test_tokens.py runs in several processes: shared tokens compared with a single process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from multitalk.errors import InvalidInput
from multitalk.models.transformer import MultiTalkTransformer

from .processes import Check, main

FRAMES, HEIGHT, WIDTH = 6, 6, 10  # 90 tokens, 15 per frame: neither is a multiple of four processes


def make_transformer(heads: int) -> MultiTalkTransformer:
    transformer = MultiTalkTransformer(
        num_attention_heads=heads,
        attention_head_dim=12,
        ffn_dim=80,
        num_layers=2,
        text_dim=24,
        text_len=20,
        freq_dim=16,
        image_dim=32,
        audio_layers=2,
        audio_channels=16,
        audio_hidden_dim=20,
        audio_tokens=6,
        audio_dim=40,
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in transformer.parameters():
        parameter.detach().copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return transformer.eval().requires_grad_(False)


def inputs(transformer: MultiTalkTransformer, people: int, batch: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    masks = torch.zeros(3, HEIGHT * WIDTH // 4)
    masks[0, :5], masks[1, 8:12] = 1, 1
    masks[2] = 1 - masks[0] - masks[1]
    audio = transformer.project_audio(random(people, 4 * FRAMES - 3, 5, 2, 16))
    return {
        "hidden_states": random(batch, 36, FRAMES, HEIGHT, WIDTH),
        "timestep": torch.tensor([437.5]),
        "text_hidden_states": transformer.project_text(random(batch, 7, 24)),
        "image_hidden_states": transformer.project_image(random(1, 257, 32)),
        "audio_hidden_states": audio.expand(batch, -1, -1, -1),
        "person_masks": masks if people > 1 else None,
    }


def checks(arguments: list[str]) -> dict[str, Check]:
    transformer = make_transformer(heads=4)

    def compare(people: int, batch: int) -> Check:
        with torch.inference_mode():
            arguments = inputs(transformer, people, batch)
            alone, residual = transformer(**arguments, return_block_residual=True)

        @torch.inference_mode()
        def check() -> dict[str, float]:
            transformer.share_tokens(dist.group.WORLD)
            shared, shared_residual = transformer(**arguments, return_block_residual=True)
            skipped = transformer(**arguments, block_residual=shared_residual)
            transformer.share_tokens(None)
            return {
                "blocks": relative_error(shared, alone),
                "skipped": relative_error(skipped, alone),
                "residual": shared_residual.shape[1] / residual.shape[1],
            }

        return check

    def odd_heads() -> str:
        try:
            make_transformer(heads=3).share_tokens(dist.group.WORLD)
        except InvalidInput as error:
            return str(error)
        return ""

    names = {"one person": (1, 1), "two people": (2, 1), "two people, two branches": (2, 2)}
    return {name: compare(*case) for name, case in names.items()} | {"odd heads": odd_heads}


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


if __name__ == "__main__":
    main(checks)
