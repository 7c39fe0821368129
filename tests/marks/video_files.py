"""Videos as the pipeline writes them, and what they contain."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np

from multitalk.marks.identity import Identity, identity_of
from multitalk.marks.manifest import make_manifest
from multitalk.marks.settings import MarkSettings
from multitalk.marks.signing import sign_file
from multitalk.marks.tags import ai_tags
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter

SETTINGS = {
    "seed": 3,
    "steps": 8,
    "size": (64, 96),
    "prompt": "a SECRET scene",
    "negative_prompt": "SECRET too",
    "speech": {"text": "SECRET words"},
    "said": {"person1": {"text": "SECRET words"}},
    "lora": [{"path": "SECRET.safetensors", "scale": 0.5}],
}


def write_video(path: Path, seconds: float = 1.0, tags: dict[str, str] | None = None) -> Path:
    """A video of noise with a tone, and the tags of a marked file."""
    rng = np.random.default_rng(0)
    tone = 0.1 * np.sin(np.arange(round(seconds * 16000)) * 0.1)[:, None]
    metadata = {"title": "MultiTalk", "comment": json.dumps({"seed": 3, "preset": "demo"})}
    metadata |= ai_tags(is_composite=False) if tags is None else tags
    sound = Sound(tone.astype(np.float32), 16000)
    with VideoWriter(path, 96, 64, sound=sound, metadata=metadata) as writer:
        writer.write(rng.integers(0, 256, (round(seconds * 25), 64, 96, 3), dtype=np.uint8))
    return path


def own_identity() -> Identity:
    return identity_of(MarkSettings.from_environment())


def signed_video(path: Path, identity: Identity | None = None, **options: Any) -> Path:
    """A video with Content Credentials."""
    manifest = make_manifest("MultiTalk", "Apache-2.0", SETTINGS)
    sign_file(write_video(path), manifest, identity or own_identity(), **options)
    return path


def change_frames(path: Path) -> Path:
    """Change a byte of a signed file's frames; the first "mdat" in it is a name in the manifest."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"mdat") + 900] ^= 1
    path.write_bytes(content)
    return path


def packets(path: Path) -> dict[str, str]:
    """The hash of each stream's packets with their times."""
    hashes: dict[str, Any] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            digest = hashes.setdefault(packet.stream.type, hashlib.sha256())
            digest.update(bytes(packet) + repr((packet.pts, packet.dts, packet.duration)).encode())
    return {kind: digest.hexdigest() for kind, digest in hashes.items()}


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def reencode(source: Path, target: Path, codec: str | None = "libx264") -> Path:
    """Encode a video again, or with None only write its packets into a new file, as FFmpeg does."""
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        track = given.streams.video[0]
        if codec is None:
            copy = written.add_stream_from_template(track)
            for packet in given.demux(track):
                if packet.dts is not None:
                    packet.stream = copy
                    written.mux(packet)
            return target
        stream = written.add_stream(codec, rate=25)
        stream.width, stream.height = track.width, track.height
        for frame in given.decode(track):
            written.mux(stream.encode(frame.reformat(format="yuv420p")))
        written.mux(stream.encode(None))
    return target
