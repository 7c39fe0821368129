"""Long videos: a question before they start, with faster choices, and the preset for a slow machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from PIL import Image

from ..request.build import build_request
from ..request.generation_request import GenerationRequest
from .estimates import describe_seconds, seconds_of
from .options import PRESET_TITLES
from .preset_fields import PRESET_FIELDS
from .worker import ModelWorker

ASK_ABOVE_MINUTES = 10.0
LONG_SECONDS = 600.0  # a preset that takes longer for the sample below is not the one to start with
FASTER = 0.7  # a choice must take at most this share of the time
SHORT_SECONDS = 10.0  # of the video
SAMPLE_SECONDS = 5.0  # of the video by which a preset is chosen for the machine


@dataclass(frozen=True)
class Choice:
    """The user's answer to the question.

    Attributes:
        is_made: Whether the question was answered.
        changes: Values of the form's fields that the answer changes, for this video only.
    """

    is_made: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


def question(
    worker: ModelWorker, request: GenerationRequest, ask_above: float = ASK_ABOVE_MINUTES
) -> dict[str, Any] | None:
    """Return the question before a video, for the page's script; None if the video does not take long.

    Args:
        worker: Estimates the time.
        request: The video.
        ask_above: Minutes that a video may take without a question.
    """
    seconds = _estimate(worker, request)
    if seconds is None or seconds <= 60 * ask_above:
        return None
    faster = _faster_presets(worker, request, seconds)
    if seconds_of(request) > 2 * SHORT_SECONDS and (request.max_seconds or SHORT_SECONDS + 1) > SHORT_SECONDS:
        shorter = request.model_copy(update={"max_seconds": SHORT_SECONDS})
        time = describe_seconds(_estimate(worker, shorter) or 0.0)
        changes = {"max_seconds": SHORT_SECONDS}
        faster.append({"title": f"First {SHORT_SECONDS:.0f} s only (about {time})", "changes": changes})
    anyway = {"title": f"Generate anyway (about {describe_seconds(seconds)})", "changes": {}}
    return {
        "text": f"This video takes about {describe_seconds(seconds)} on this machine.",
        "choices": [*faster, anyway],
        "id": uuid4().hex,
    }


def read_choice(data: Any, worker: ModelWorker) -> Choice:
    """Read the answer that the page's script sends with a press; unknown values are ignored."""
    if not isinstance(data, Mapping) or data.get("accepted") is not True:
        return Choice()
    changes: dict[str, Any] = {}
    if data.get("preset") in [preset.name for preset in worker.presets()]:
        # the other values are those of the preset in the form
        changes |= {"preset": data["preset"], **dict.fromkeys(PRESET_FIELDS)}
    if data.get("max_seconds") == SHORT_SECONDS:
        changes["max_seconds"] = SHORT_SECONDS
    return Choice(True, changes)


def suggested_preset(worker: ModelWorker) -> str:
    """Return the preset to start with: the weights' default, or the fastest if the default takes too long."""
    presets = worker.presets()
    times: dict[str, float] = {}
    for preset in presets:
        sample = {"image": Image.new("RGB", (832, 480)), "speech": "a", "preset": preset.name}
        estimate = worker.estimate(build_request(sample), SAMPLE_SECONDS)
        if estimate is not None:
            times[preset.name] = estimate.seconds
    default = presets[0].name
    return default if times.get(default, 0.0) <= LONG_SECONDS else min(times, key=lambda name: times[name])


def _faster_presets(worker: ModelWorker, request: GenerationRequest, seconds: float) -> list[dict[str, Any]]:
    """Return the choice of the fastest preset, if it is much faster; else an empty list."""
    times: dict[str, float] = {}
    for preset in worker.presets():
        update: dict[str, Any] = {"preset": preset.name, **dict.fromkeys(PRESET_FIELDS)}
        time = _estimate(worker, request.model_copy(update=update))
        if time is not None and time <= FASTER * seconds:
            times[preset.name] = time
    if not times:
        return []
    name = min(times, key=lambda each: times[each])
    title = f"{PRESET_TITLES.get(name, name)} preset (about {describe_seconds(times[name])})"
    return [{"title": title, "changes": {"preset": name}}]


def _estimate(worker: ModelWorker, request: GenerationRequest) -> float | None:
    estimate = worker.estimate(request, seconds_of(request))
    return None if estimate is None else estimate.seconds
