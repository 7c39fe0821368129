"""Settings of a file that Automatic chose: they are restored as Automatic, not as what it chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..models.constants import FPS
from ..request.model_kinds import MODELS, default_model
from ..request.presets import PRESETS
from . import options

# A file is longer than its frames by a part of an audio packet, and a video that was stopped after its first
# clip has exactly its frames: what depends on such a difference is restored as it is in the file.
TOLERANCE_SECONDS = 0.1


def automatic_values(
    settings: dict[str, Any], parsed: dict[str, Any], seconds: float, audio_layers: Sequence[str]
) -> dict[str, Any]:
    """Return the automatic values of the form's fields in which the file has what Automatic chooses.

    The restored form gives the same video, and Automatic still chooses for another audio file or a video to
    dub.

    Args:
        settings: Settings of a file.
        parsed: The valid ones, from :func:`multitalk.ui.file_settings.parse_settings`.
        seconds: Length of the file.
        audio_layers: Names of the audio layers in the server's weights, the default first.
    """
    frames_per_clip, motion_frames = parsed.get("frames_per_clip", 0), parsed.get("motion_frames") or 0
    if "model" not in parsed or not 0 < motion_frames < frames_per_clip:  # an older file, or a damaged one
        return {}
    kind, people = MODELS[parsed["model"]], parsed.get("people", 1)
    dubs, continues = "dub" in settings, "join" in settings
    # a file that starts with the continued video does not contain the length of its own part
    shortest = 0.0 if settings.get("join") else seconds - TOLERANCE_SECONDS
    lengths = (shortest, seconds + TOLERANCE_SECONDS)
    values: dict[str, Any] = {}
    if all(default_model(people, length, audio_layers, dubs) is kind for length in lengths):
        values["model"] = options.AUTOMATIC
    if motion_frames == kind.default_motion_frames(frames_per_clip):
        values["motion_frames"] = None
    if "preset" in parsed:
        preset = PRESETS[parsed["preset"]]
        clips = [_clips(length, frames_per_clip, motion_frames) for length in lengths]
        defaults = [kind.default_color_correction(preset, count, dubs, continues) for count in clips]
        if all(default == parsed.get("color_correction") for default in defaults):
            values["color_correction"] = options.AUTOMATIC
        if parsed.get("size") == preset.size and not continues:  # Automatic: the size of the continued video
            values["size"] = options.AUTOMATIC
    return values


def _clips(seconds: float, frames_per_clip: int, motion_frames: int) -> int:
    """Return the number of clips of a video."""
    more = math.floor(seconds * FPS) - frames_per_clip
    return 1 + max(0, math.ceil(more / (frames_per_clip - motion_frames)))
