"""Checks of a request's fields about the video that it dubs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..runtime.environment import max_audio_seconds
from .model_kinds import MODELS
from .numbers import shown

if TYPE_CHECKING:
    from ..media.sound import Sound
    from .generation_request import GenerationRequest

# The first one is the default.
CHOICES = {
    "video_timing": ("time", "frame"),
    "video_end": ("hold", "loop", "pingpong"),
    "length": ("audio", "video", "shortest"),
    "dub": ("free", "exact"),
}


def check_video(request: GenerationRequest) -> Sound | None:
    """Check the fields about the video together; return its sound, if it is kept.

    Raises:
        InvalidInput: They do not fit the video, or the job has an image.
    """
    if request.video is None:
        for name in (*CHOICES, "strength", "source_volume", "scenes"):
            if getattr(request, name) != type(request).model_fields[name].default:
                raise InvalidInput(
                    f"{name} needs a video ({shown(getattr(request, name))}), but the job has an image. "
                    f"Provide a video in video, or remove {name}.",
                    name,
                )
        return None
    if request.model is not None and not MODELS[request.model].takes_video:
        names = ", ".join(kind.name for kind in MODELS.values() if kind.takes_video)
        raise InvalidInput(
            f"model '{request.model}' animates an image, not a video. Use {names}, or an image.", "model"
        )
    if request.dub == "free" and "strength" in request.model_fields_set:
        raise InvalidInput(
            f"strength needs dub 'exact' ({request.strength:g}). Set dub to 'exact', or remove strength.",
            "strength",
        )
    limit = max_audio_seconds()
    if request.length == "video" and min(request.video.seconds, request.max_seconds or math.inf) > limit:
        raise InvalidInput(
            f"video is {request.video.seconds:.1f} seconds long, but with length 'video' the limit is "
            f"{limit:g} seconds. Set max_seconds, or raise MAX_AUDIO_SECONDS.",
            "video",
        )
    if request.source_volume:
        if not request.video.has_sound:
            raise InvalidInput(
                f"source_volume needs a video with sound ({request.source_volume:g}), but the video has no "
                "audio track. Set source_volume to 0.",
                "source_volume",
            )
        return request.video.read_sound()
    return None
