"""Whole videos against the published reference: every clip's final latents, and the frames."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from multitalk import GenerationRequest

from .conftest import recorded

LATENTS_BOUND = 1e-5
FRAMES_BOUND = 2  # of 255

END_TO_END = [
    "e2e_single_cfg",
    "e2e_two_people_apg_color",
    "e2e_two_people_turns_fast",
    "e2e_fusionx_clip",
    "e2e_lightx2v_apg_color",
    "e2e_teacache",
]


def request_for(case: SimpleNamespace, cases: Path, weights: Path) -> GenerationRequest:
    info = case.info
    kind, _, names = info["audio"].partition("(")
    sounds = [cases / f"{name.strip()}.wav" for name in (names.rstrip(")") or kind).split(",")]
    fields: dict[str, Any] = {}
    if len(sounds) == 2:
        fields["turns"] = kind
        if boxes := info["person_boxes_row0_col0_row1_col1"]:
            fields["boxes"] = {person: (box[1], box[0], box[3], box[2]) for person, box in boxes.items()}
    if info["max_frames"] == info["frames_per_clip"]:
        fields["max_seconds"] = info["max_frames"] / info["fps"]
    if info["lora"]:
        fields["lora"] = [{"path": weights / info["lora"]["file"], "scale": info["lora"]["scale"]}]
    return GenerationRequest(
        image=cases / info["picture"],
        audio={f"person{index}": sound for index, sound in enumerate(sounds, start=1)},
        prompt=info["prompt"],
        size=(info["height"], info["width"]),
        preset="quality",
        steps=info["steps"],
        shift=info["shift"],
        text_guidance=info["text_guidance"],
        audio_guidance=info["audio_guidance"],
        apg=info["apg"],
        color_correction=info["color_correction"],
        teacache=info["teacache"],
        seed=info["seed"],
        **fields,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", END_TO_END)
def test_video(name, load_case, cases, weights, pipeline, relative_error, monkeypatch):
    case = load_case(name)
    calls = 0
    forward = pipeline.components.transformer.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(pipeline.components.transformer, "forward", counted)
    frames = []
    for clip in pipeline.stream(request_for(case, cases, weights)):
        error = relative_error(clip.latents, case.tensors[f"clip{clip.index}_latents"])
        assert error < LATENTS_BOUND, f"clip {clip.index}"
        frames.append(clip.frames)
    assert len(frames) == case.info["clips"]
    assert calls == case.info["model_calls"]

    video = torch.cat(frames)[: case.info["frames"]]  # the reference drops the last 3 frames
    expected = ((case.tensors["video"].float() + 1) * 127.5).round().permute(1, 2, 3, 0)
    shown, expected = recorded(video.float(), expected)
    assert (shown - expected).abs().max() <= FRAMES_BOUND
