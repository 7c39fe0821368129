"""A job's output: its result, or one sentence about what went wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import Busy, Cancelled, InvalidInput, MultiTalkError
from ..request.model_kinds import MODELS
from ..runtime.process_memory import SMALLER, is_out_of_memory

if TYPE_CHECKING:
    from ..pipeline.results import GenerationResult

# An absolute path of at least two parts; after a word, a colon or a slash it is part of a URL.
_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s'\"/,;:()]+/)+([^\s'\"/,;:()]*)")
OUT_OF_MEMORY = f"The worker ran out of memory: {SMALLER}, or use an endpoint with more GPU memory."


class Undelivered(MultiTalkError):
    """A video that could not be delivered to the caller.

    Args:
        message: One sentence that says where the video is.
        video_path: Path of the video on the network volume; None without a volume.
    """

    def __init__(self, message: str, video_path: str | None = None) -> None:
        super().__init__(message)
        self.video_path = video_path


def success(result: GenerationResult, fps: int, filename: str) -> dict[str, Any]:
    """Describe a finished job, without ``video_base64`` or ``video_url``."""
    answer = {
        "status": "success",
        "filename": filename,
        "seed": result.seed,
        "frames": result.frames,
        "seconds": result.seconds,
        "fps": fps,
        "width": result.width,
        "height": result.height,
        "timings": {stage: round(seconds, 3) for stage, seconds in result.timings.items()},
        "marks": list(result.marks),
        "signed_by": result.signed_by,
        "watermark": result.watermark,
    }
    if result.model not in MODELS["multitalk"].audio_layers.values():  # answers as the known worker's
        answer["model"] = result.model
    return answer | {"warnings": list(result.warnings)} if result.warnings else answer


def failure(error: BaseException, job_id: str) -> dict[str, Any]:
    """Describe a failed job.

    Args:
        error: The exception.
        job_id: Named in the message when only the log has the details.

    Returns:
        ``error`` (a sentence without server paths), ``error_type`` and ``field`` (or None).
    """
    answer: dict[str, Any] = {"error": without_paths(str(error)), "error_type": "internal", "field": None}
    if isinstance(error, InvalidInput):
        field = error.field  # may be an unknown name from the caller that cannot be encoded
        field = None if field is None else field.encode(errors="backslashreplace").decode()
        answer |= {"error_type": "invalid_input", "field": field}
    elif isinstance(error, Cancelled):
        answer["error_type"] = "cancelled"
    elif isinstance(error, Undelivered):
        answer["error"] = str(error)  # the path is on the caller's volume
        if error.video_path is not None:
            answer["video_path"] = error.video_path
    elif isinstance(error, Busy):
        answer["error_type"] = "out_of_memory"
    elif is_out_of_memory(error):
        answer |= {"error": OUT_OF_MEMORY, "error_type": "out_of_memory", "field": "size"}
    elif not isinstance(error, MultiTalkError):
        answer["error"] = f"The worker failed. Look for job {job_id} in its log."
    return answer


def without_paths(text: str) -> str:
    """Remove folders from the paths in a sentence, keeping file names."""
    return _PATH.sub(lambda found: found[1], text)


def encoded_size(message: Any) -> int:
    """Return the size of a message in bytes as the SDK sends it."""
    return len(json.dumps({"output": message}, ensure_ascii=False).encode())
