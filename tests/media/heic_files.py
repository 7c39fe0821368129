"""HEIC files for the tests, made with x265 of FFmpeg: the wheel that decodes HEIC cannot encode it."""

from __future__ import annotations

import io
import struct

import av
import numpy as np


def heic(
    pixels: np.ndarray, profile: bytes = b"", quarter_turns: int = 0, codes: tuple[int, int] | None = None
) -> bytes:
    """Encode an image, uint8 ``[height, width, 3]``.

    Args:
        pixels: The image; its sides are multiples of 16.
        profile: A color profile.
        quarter_turns: Rotation to the left that the file prescribes.
        codes: H.273's codes of the primaries and of the transfer function.
    """
    configuration, data = _hevc(pixels)
    height, width = pixels.shape[:2]
    properties = [
        _box(b"hvcC", configuration),
        _full_box(b"ispe", struct.pack(">II", width, height)),
        _box(b"irot", bytes([quarter_turns])),
    ]
    if profile:
        properties.append(_box(b"colr", b"prof" + profile))
    if codes is not None:
        properties.append(_box(b"colr", b"nclx" + struct.pack(">HHHB", *codes, 6, 0)))
    association = struct.pack(">IHB", 1, 1, len(properties))
    association += bytes(0x80 * (index != 2) | index for index in range(1, len(properties) + 1))
    files = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")

    def meta(offset: int) -> bytes:
        location = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(data))
        entry = _box(b"infe", bytes([2, 0, 0, 0]) + struct.pack(">HH", 1, 0) + b"hvc1\0")
        return _full_box(
            b"meta",
            _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + _full_box(b"pitm", struct.pack(">H", 1))
            + _full_box(b"iloc", location)
            + _full_box(b"iinf", struct.pack(">H", 1) + entry)
            + _box(b"iprp", _box(b"ipco", b"".join(properties)) + _full_box(b"ipma", association)),
        )

    return files + meta(len(files) + len(meta(0)) + 8) + _box(b"mdat", data)


def _hevc(pixels: np.ndarray) -> tuple[bytes, bytes]:
    """Encode one frame; return the decoder's configuration and the frame."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as writer:
        parameters = "log-level=none:crf=4:bframes=0"
        stream = writer.add_stream("libx265", rate=25, options={"x265-params": parameters})
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt, stream.codec_tag = "yuv420p", "hvc1"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = 0
        writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as reader:
        stream = reader.streams.video[0]
        return bytes(stream.codec_context.extradata), bytes(next(reader.demux(stream)))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full_box(kind: bytes, content: bytes) -> bytes:
    return _box(kind, bytes(4) + content)
