"""InfiniteTalk against the published reference: the parts of a clip, and whole videos.

``../shared/infinitetalk`` holds all cases, ``tests/parity/data`` a short one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.infinitetalk import InfiniteTalkConditioner
from multitalk.media.source_video import FramePosition, Video, VideoReader, read_video
from multitalk.pipeline import clips
from multitalk.sampling.denoise import VelocityModel

from .conftest import INFINITETALK, recorded
from .test_end_to_end import FRAMES_BOUND, LATENTS_BOUND

PARTS_BOUND = 3e-6
DECODING_BOUND = 2  # of 255: converters of YUV to RGB round differently
SHORT = "e2e_image_teacache"
CASES = [
    SHORT,
    "e2e_image_single_cfg",
    "e2e_image_two_people_apg_color",
    "e2e_video_clip_fusionx",
    "e2e_video_single_fast",
    "e2e_video_two_people_turns",
]
FULL = INFINITETALK.is_dir()
VIDEO_CASES = [name for name in CASES if FULL and "video" in name]


@pytest.fixture
def case(request: pytest.FixtureRequest, infinitetalk: Path, data: Path) -> SimpleNamespace:
    path = infinitetalk / "cases" / request.param
    info: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    inputs = path.parent if FULL else data / "cases"
    return SimpleNamespace(tensors=load_file(path.with_suffix(".safetensors")), info=info, folder=inputs)


@dataclass
class Parts:
    """What the pipeline computes for each clip."""

    conditions: list[Any] = field(default_factory=list)
    noises: list[torch.Tensor] = field(default_factory=list)
    steps: list[dict[int, dict[str, torch.Tensor]]] = field(default_factory=list)
    calls: int = 0


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The parts of the clips that are made in this test."""
    parts = Parts()
    condition, denoise, predict = InfiniteTalkConditioner.condition, clips.denoise, VelocityModel.predict

    def record_condition(*arguments: Any) -> Any:
        parts.conditions.append(condition(*arguments))
        return parts.conditions[-1]

    def record_noise(model: Any, noise: torch.Tensor, *arguments: Any) -> torch.Tensor:
        parts.noises.append(noise)
        parts.steps.append({})
        return denoise(model, noise, *arguments)

    def record_step(model: Any, latents: torch.Tensor, timestep: Any, step: int, call: Any) -> Any:
        predictions = predict(model, latents, timestep, step, call)
        parts.calls += 1
        values = parts.steps[-1].setdefault(step, {"latents_in": latents})
        values.update({branch.name: value for branch, value in predictions.items()})
        return predictions

    monkeypatch.setattr(InfiniteTalkConditioner, "condition", record_condition)
    monkeypatch.setattr(clips, "denoise", record_noise)
    monkeypatch.setattr(VelocityModel, "predict", record_step)
    return parts


def request_for(case: SimpleNamespace, weights: Path, source: dict[str, Any]) -> GenerationRequest:
    info = case.info
    fields: dict[str, Any] = {}
    if info["audio_type"]:
        fields["turns"] = info["audio_type"]
    if boxes := info["person_boxes_row0_col0_row1_col1"]:
        fields["boxes"] = {person: (box[1], box[0], box[3], box[2]) for person, box in boxes.items()}
    if info["max_frames"] < info["features"][0]:
        fields["max_seconds"] = info["max_frames"] / info["fps"]
    if info["lora"]:
        fields["lora"] = [{"path": weights / info["lora"]["file"], "scale": info["lora"]["scale"]}]
    if info["motion_frames"] != 9:  # the default of InfiniteTalk
        fields["motion_frames"] = info["motion_frames"]
    same = ("prompt", "steps", "shift", "text_guidance", "audio_guidance", "apg", "color_correction")
    return GenerationRequest(
        model="infinitetalk",
        audio={person: case.folder / name for person, name in info["audio"].items()},
        size=(info["height"], info["width"]),
        preset="quality",
        seed=info["seed"],
        teacache=info["teacache"],
        frames_per_clip=info["frames_per_clip"],
        **{name: info[name] for name in same},
        **source,
        **fields,
    )


def source_of(case: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The picture, or the video with the frames that the reference decoded: sampling starts from the same."""
    path = case.folder / case.info["cond_video"]
    if path.suffix == ".png":
        return {"image": path}
    frames = [Image.fromarray(frame) for frame in case.tensors["condition_frames_rgb"].numpy()]
    numbers = case.info["condition_frames"]

    def read(reader: VideoReader, position: FramePosition, check: Any) -> tuple[int, Image.Image]:
        assert position.number in numbers
        index = numbers.index(position.number)
        return index, frames[index]

    monkeypatch.setattr(VideoReader, "read", read)
    return {"video": replace(read_video(path), picture=frames[0]), "video_timing": "frame"}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES if FULL else CASES[:1], indirect=True)
def test_video(case, weights, infinitetalk_pipeline, parts, relative_error, monkeypatch):
    request = request_for(case, weights, source_of(case, monkeypatch))
    tensors, frames = case.tensors, []
    for clip in infinitetalk_pipeline.stream(request):
        expected = tensors[f"clip{clip.index}_latents"]
        assert relative_error(clip.latents, expected) < LATENTS_BOUND, f"clip {clip.index}"
        motion = parts.conditions[clip.index].motion.latents
        assert torch.equal(clip.latents[:, : motion.shape[1]], motion), "clean to the bit"
        frames.append(clip.frames)
    assert len(frames) == case.info["clips"]
    assert parts.calls == case.info["model_calls"]

    video = torch.cat(frames)[: case.info["frames"]]  # the reference leaves out a frame that is not whole
    shown, expected = recorded(
        video.float(), ((tensors["video"].float() + 1) * 127.5).round().permute(1, 2, 3, 0)
    )
    assert (shown - expected).abs().max() <= FRAMES_BOUND
    check_parts(parts, tensors, relative_error)


def check_parts(parts: Parts, tensors: dict[str, torch.Tensor], relative_error: Any) -> None:
    """Compare the parts of the first two clips with the reference's; later ones depend on sampled frames."""
    for index, (clip, noise) in enumerate(zip(parts.conditions, parts.noises, strict=True)):
        pairs = {
            "y": clip.condition[None],
            "clip_features": clip.image_features,
            "noise": noise,
            "motion_latents": clip.motion.latents,
        }
        for name, value in pairs.items():
            bound = LATENTS_BOUND if name == "motion_latents" and index else PARTS_BOUND
            assert relative_error(value, tensors[f"clip{index}_{name}"]) < bound, f"clip {index}: {name}"
        for step, values in parts.steps[index].items():
            bound = PARTS_BOUND if index == step == 0 else LATENTS_BOUND
            for name, value in values.items():
                expected = tensors.get(f"clip{index}_step{step}_{name}")
                assert expected is None or relative_error(value, expected) < bound, (index, step, name)


@pytest.mark.skipif(not FULL, reason="the recorded videos are in ../shared/infinitetalk")
@pytest.mark.parametrize("case", VIDEO_CASES, indirect=True)
def test_frames_of_a_video_by_number(case):
    video: Video = read_video(case.folder / case.info["cond_video"])
    reader = video.open()
    try:
        for number, expected in zip(
            case.info["condition_frames"], case.tensors["condition_frames_rgb"].numpy(), strict=True
        ):
            _, frame = reader.read(FramePosition(number=number), lambda: None)
            assert np.abs(np.asarray(frame, np.int16) - expected).max() <= DECODING_BOUND
    finally:
        reader.close()


def test_one_folder_has_all_models(infinitetalk_pipeline: MultiTalkPipeline) -> None:
    sets = infinitetalk_pipeline.components.audio_layer_sets
    assert sets[:2] == ("multitalk", "infinitetalk-single")
    assert ("infinitetalk-multi" in sets) == FULL
