"""What a video's file tells about how it was made, so that the same settings can be used again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..request.presets import Preset, SamplingSettings

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest, Speech

TITLE = "MultiTalk"  # of every file: how the page knows them
SETTINGS = ("turns", "teacache", "apg", "color_correction", "frames_per_clip", "motion_frames", "max_seconds")


def describe_job(
    request: GenerationRequest,
    preset: Preset,
    settings: SamplingSettings,
    seed: int,
    words: bool = False,
    said: Mapping[str, Speech] | None = None,
) -> dict[str, str]:
    """Tags for the file: what it was made with.

    Args:
        request: The job.
        preset: What it ran with.
        settings: The preset's, as the request changed them.
        seed: What the random numbers began from.
        words: Whether prompts and spoken words are told, too. A file is often passed on, so a front end
            says yes only where people know of it.
        said: With `words`: what was spoken to make the request's sounds, by person.
    """
    told: dict[str, Any] = {"preset": preset.name, "seed": seed, **asdict(settings)}
    told |= {"people": request.people, "size": request.size_with(preset)}
    told["spoken"] = list(request.spoken)  # a text without (s1) and (s2) doesn't tell whose words it has
    told |= {name: getattr(request, name) for name in SETTINGS}
    if request.boxes:
        told |= {"boxes": request.boxes, "image_size": request.image.size}
    told["cache"] = None if request.cache is None else request.cache.model_dump(exclude_none=True)
    if request.lora:
        told["lora"] = [{"path": lora.path.name, "scale": lora.scale} for lora in request.lora]
    if words:
        told |= {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        if request.speech is not None:
            told["speech"] = request.speech.model_dump()
        if said:
            told["said"] = {person: speech.model_dump() for person, speech in said.items()}
    return {"title": TITLE, "comment": json.dumps(told)}
