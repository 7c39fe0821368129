"""Metadata of a video file: the settings it was made with, which the page can restore."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..request.presets import SAMPLING_FIELDS, Preset, SamplingSettings

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..request.model_kinds import ModelKind
    from ..request.parts import Speech

TITLE = "MultiTalk"  # title tag of every file, by which the page recognizes them
FIELDS = ("turns", "isolate_voice", "teacache", "apg", "vae", "frames_per_clip", "max_seconds")
VIDEO_FIELDS = ("video_timing", "video_end", "length", "dub", "strength", "source_volume", "scenes")


def make_metadata(
    request: GenerationRequest,
    preset: Preset,
    kind: ModelKind,
    sampling: SamplingSettings,
    seed: int,
    clips: int,
    include_text: bool = False,
    scripts: Mapping[str, Speech] | None = None,
) -> dict[str, str]:
    """Create the tags of a video file.

    Args:
        request: The job.
        preset: Preset of the job.
        kind: Model of the job.
        sampling: Sampling settings: the preset's, with the request's changes.
        seed: Seed of the random numbers.
        clips: Number of clips.
        include_text: Whether to include prompts and spoken text. Files are often passed on, so a front end
            must not set this without the user's knowledge.
        scripts: With `include_text`: for each person whose audio was made from text, that text.

    Returns:
        The tags "title" and "comment"; the comment is a JSON object.
    """
    values: dict[str, Any] = {"preset": preset.name, "seed": seed}
    values |= {name: getattr(sampling, name) for name in SAMPLING_FIELDS}
    values |= {"people": request.people, "size": request.size_with(preset)}
    values["speaking"] = list(request.speaking)  # others have a box only
    values["spoken"] = list(request.spoken)  # text without (s1) and (s2) does not name its speaker
    values |= {name: getattr(request, name) for name in FIELDS}
    values |= {
        "model": kind.name,
        "color_correction": kind.color_correction_of(request, preset, clips),
        "motion_frames": kind.motion_frames_of(request),
    }
    if request.video is not None:
        values |= {name: getattr(request, name) for name in VIDEO_FIELDS}
    if request.audio_scale != 1:
        values["audio_scale"] = request.audio_scale
    if request.continue_from is not None:
        values["join"] = request.join
    if request.boxes:
        values |= {"boxes": request.boxes, "image_size": request.picture_size}
    values["cache"] = None if request.cache is None else request.cache.model_dump(exclude_none=True)
    values["label"] = None if request.label is None else request.label.model_dump()
    if request.lora:
        values["lora"] = [{"path": lora.path.name, "scale": lora.scale} for lora in request.lora]
    if include_text:
        values |= {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        if request.speech is not None:
            values["speech"] = request.speech.model_dump()
        if scripts:
            # the key in all existing files
            values["said"] = {person: speech.model_dump() for person, speech in scripts.items()}
    return {"title": TITLE, "comment": json.dumps(values)}
