"""Real frames, and what happens to videos on their way."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import av
import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@cache
def talking(frames: int = 25) -> np.ndarray:
    """The first frames of the demo's drawn video, 384x384; read-only, since tests share them."""
    clip = decode(EXAMPLES / "talking.mp4")[:frames]
    clip.flags.writeable = False
    return clip


def decode(source: Path | bytes) -> np.ndarray:
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def encode_again(frames: np.ndarray, bit_rate: int | None = None, **options: str) -> np.ndarray:
    """Encode with x264's own defaults, and decode."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return decode(buffer.getvalue())
