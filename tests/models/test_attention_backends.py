"""Attention backends are tried on the device before they are used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from multitalk.models import attention_backends
from multitalk.models.attention_backends import (
    EXTRA_KERNELS,
    attend,
    first_working,
    probe,
    set_attention_backends,
)
from multitalk.models.transformer import MultiTalkTransformer

CPU = torch.device("cpu")


def test_a_working_backend_passes() -> None:
    assert probe("native", CPU, torch.float32) is None
    assert probe("_native_math", CPU, torch.float32) is None


def test_a_missing_package_and_a_wrong_result_are_distinguished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.flip(-1)

    def broken(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value / 0

    monkeypatch.setitem(EXTRA_KERNELS, "wrong", wrong)
    monkeypatch.setitem(EXTRA_KERNELS, "broken", broken)
    assert "flash-attn" in str(probe("flash", CPU, torch.bfloat16))
    assert "sageattention" in str(probe("sage_fp8_fp32", CPU, torch.bfloat16))
    assert "relative error is 11." in str(probe("wrong", CPU, torch.float32))
    assert "relative error is inf" in str(probe("broken", CPU, torch.float32))


PACKAGES = {
    "sage_3": (
        "sageattn3/__init__.py",
        """def sageattn3_blackwell(q, k, v, attn_mask=None, is_causal=False, per_block_mean=True):
    assert all(part.is_contiguous() for part in (q, k, v))
    k -= k.mean(dim=-2, keepdim=True)  # as the package does
    return scaled_dot_product_attention(q, k, v)""",
    ),
    "flash_4": (
        "flash_attn/cute/__init__.py",
        """def flash_attn_func(q, k, v):
    out = scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v))).transpose(1, 2)
    return out, None""",
    ),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_newest_kernels_get_their_layout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins with the packages' names, layouts and results: the packages need a GPU."""
    assert "No module named" in str(probe(name, CPU, torch.float32))
    file, function = PACKAGES[name]
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(
        f"from torch.nn.functional import scaled_dot_product_attention\n{function}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("sageattn3", "flash_attn", "flash_attn.cute"):
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]  # so that the stand-in is forgotten
        monkeypatch.delitem(sys.modules, module)
    assert probe(name, CPU, torch.float32) is None
    query, key, value = torch.randn(3, 1, 5, 2, 8).unbind(0)
    kept = key.clone()
    torch.testing.assert_close(attend(query, key, value, name), attend(query, key, value, "native"))
    assert torch.equal(key, kept), "the model uses the keys again"


def test_the_first_working_backend_is_used_with_notes_on_the_others() -> None:
    notes: list[str] = []
    chosen = first_working(["sage", "sage_fp8_fp32", "flash", "native"], CPU, torch.bfloat16, notes)
    assert chosen == "native"
    assert [note.split()[2] for note in notes] == ["sage", "sage_fp8_fp32", "flash"]
    assert all("\n" not in note and note.endswith(".") for note in notes)
    assert first_working(["flash"], CPU, torch.bfloat16, notes) == "native"


def test_backends_are_set_per_kind_of_attention_and_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, int]] = []

    def counting(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        calls.append((query.shape[1], key.shape[1]))
        return attend(query, key, value, "native")

    monkeypatch.setitem(EXTRA_KERNELS, "counting", counting)
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    before = _AttentionBackendRegistry.get_active_backend()
    transformer = MultiTalkTransformer(
        num_attention_heads=2, attention_head_dim=24, text_dim=8, text_len=4, freq_dim=8, ffn_dim=16,
        num_layers=2, image_dim=8, audio_layers=1, audio_channels=4, audio_hidden_dim=8, audio_tokens=2,
        audio_dim=8,
    )  # fmt: skip
    set_attention_backends(transformer, "counting", "native")
    tokens = torch.randn(1, 36, 3, 4, 4)
    conditions = (torch.randn(1, 4, 48), torch.randn(1, 5, 48), torch.randn(1, 3, 2, 8))
    with torch.no_grad():
        counted = transformer(tokens, torch.tensor([500.0]), *conditions)
        assert calls == [(12, 12), (12, 12)]
        set_attention_backends(transformer, "native", "counting")
        calls.clear()
        plain = transformer(tokens, torch.tensor([500.0]), *conditions)
    assert calls == [(12, 4), (12, 5), (4, 2)] * 2
    assert torch.equal(counted, plain)
    assert _AttentionBackendRegistry.get_active_backend() == before
    with pytest.raises(ValueError, match="nothing"):
        set_attention_backends(transformer, "nothing", "native")
    assert attention_backends.EXTRA_KERNELS.keys() >= {"sage_fp8_fp32", "sage_fp16_fp32"}


def attention_inputs(tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, tokens, 2, 16, generator=generator) for _ in range(3)]


def test_a_kernel_that_fails_at_length_is_replaced_with_a_warning(monkeypatch, caplog) -> None:
    lengths = []

    def short_only(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        lengths.append(query.shape[1])
        if query.shape[1] > 400:
            raise RuntimeError("invalid configuration argument")
        return attend(query, key, value, "native")

    monkeypatch.setattr(attention_backends, "_failed", set())
    monkeypatch.setitem(EXTRA_KERNELS, "short_only", short_only)
    assert probe("short_only", CPU, torch.float32) is None
    for _ in range(2):
        inputs = attention_inputs(500)
        assert torch.equal(attend(*inputs, "short_only"), attend(*inputs, "native"))
    assert lengths == [333, 500], "it is not used again"
    assert len(caplog.records) == 1
    assert "short_only failed, native is used: RuntimeError: invalid" in caplog.text


def test_no_memory_is_not_a_fault_of_the_kernel(monkeypatch) -> None:
    def full(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setitem(EXTRA_KERNELS, "full", full)
    with pytest.raises(torch.OutOfMemoryError):
        attend(*attention_inputs(8), "full")
    assert "full" not in attention_backends._failed


def test_a_probe_at_a_clips_length_compares_all_of_it(monkeypatch) -> None:
    def wrong_at_the_end(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        result = attend(query, key, value, "native")
        result[:, 333:] = 0
        return result

    monkeypatch.setitem(EXTRA_KERNELS, "wrong_at_the_end", wrong_at_the_end)
    assert attention_backends._problem("wrong_at_the_end", 333, CPU, torch.float32) is None
    assert "relative error" in str(attention_backends._problem("wrong_at_the_end", 2001, CPU, torch.float32))
