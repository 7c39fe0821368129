"""What the caller gets: the result of a job, or one sentence about what went wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InvalidInput, MultiTalkError
from ..runtime.process_memory import SMALLER, is_out_of_memory

if TYPE_CHECKING:
    from ..pipeline.results import GenerationResult

# An absolute path of two parts or more; what follows a word, a colon or a slash belongs to a URL.
_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s'\"/,;:()]+/)+([^\s'\"/,;:()]*)")
OUT_OF_MEMORY = (
    f"The worker's memory is too small for this job: {SMALLER}, or an endpoint whose GPUs have more memory."
)


class Undelivered(MultiTalkError):
    """A video that couldn't be given to the caller.

    Args:
        message: One sentence, which says where the video is.
        video_path: Where it is kept on the network volume; None where there is no volume.
    """

    def __init__(self, message: str, video_path: str | None = None) -> None:
        super().__init__(message)
        self.video_path = video_path


def success(result: GenerationResult, fps: int, filename: str) -> dict[str, Any]:
    """The answer to a job that worked, but for ``video_base64`` or ``video_url``."""
    return {
        "status": "success",
        "filename": filename,
        "seed": result.seed,
        "frames": result.frames,
        "seconds": result.seconds,
        "fps": fps,
        "width": result.width,
        "height": result.height,
        "timings": {stage: round(seconds, 3) for stage, seconds in result.timings.items()},
    }


def failure(error: BaseException, job_id: str) -> dict[str, Any]:
    """The answer to a job that didn't work.

    Args:
        error: What was raised.
        job_id: Named where only the log can tell more.

    Returns:
        ``error``, a sentence without the server's paths; ``error_type``; ``field``, or None.
    """
    answer: dict[str, Any] = {"error": without_paths(str(error)), "error_type": "internal", "field": None}
    if isinstance(error, InvalidInput):
        field = error.field  # may be a name that the caller made up, of characters that can't be sent
        field = None if field is None else field.encode(errors="backslashreplace").decode()
        answer |= {"error_type": "invalid_input", "field": field}
    elif isinstance(error, Cancelled):
        answer["error_type"] = "cancelled"
    elif isinstance(error, Undelivered):
        answer["error"] = str(error)  # its path is the caller's own volume
        if error.video_path is not None:
            answer["video_path"] = error.video_path
    elif is_out_of_memory(error):
        answer |= {"error": OUT_OF_MEMORY, "error_type": "out_of_memory", "field": "size"}
    elif not isinstance(error, MultiTalkError):
        answer["error"] = f"The worker failed; its log says why, at job {job_id}."
    return answer


def without_paths(text: str) -> str:
    """A sentence with the names of files but not their folders, which are nobody's business."""
    return _PATH.sub(lambda found: found[1], text)


def encoded_size(message: Any) -> int:
    """Bytes of a message as the SDK sends it."""
    return len(json.dumps({"output": message}, ensure_ascii=False).encode())
