"""Measure the watermark: visibility, cost, what it survives, and false positives; see docs/WATERMARK.md.

    python -m benchmarks.watermark [--clips 40] [--unmarked 200] [--videos FILE ...]

Clips of one second are cut at random places, crops and sizes from real videos (examples/, those that Gradio's
package contains, and ``--videos``) and from the reference's example images, if ../shared/examples exists,
with a slow zoom. Each is marked with a number of its own and encoded as the product does.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import gradio
import numpy as np
from skimage.metrics import structural_similarity

from multitalk.marks.watermark import BITS, Watermark
from multitalk.media.video import VideoWriter

ROOT = Path(__file__).resolve().parents[1]
GRADIO_VIDEOS = Path(gradio.__file__).parent / "media_assets" / "videos"
SIZES = ((832, 480), (480, 832), (640, 640), (384, 384))
FRAMES, FPS = 25, 25
Frames = np.ndarray  # T H W 3 uint8


def sources(videos: list[Path]) -> list[Path]:
    files = [
        ROOT / "examples" / "talking.mp4",
        *(GRADIO_VIDEOS / f"{name}.mp4" for name in ("a", "b", "world")),
    ]
    images = (ROOT.parent / "shared" / "examples").glob("*.png")
    return [*files, *videos, *sorted(images), *sorted((ROOT / "examples").glob("*.png"))]


def random_clip(files: list[Path], rng: np.random.Generator) -> Frames:
    """Cut a second out of a random file, at a random place and size."""
    file = files[rng.integers(len(files))]
    width, height = SIZES[rng.integers(len(SIZES))]
    still = None if file.suffix == ".mp4" else cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    frames = video_frames(file, rng) if still is None else [still] * FRAMES
    high, wide = frames[0].shape[:2]
    scale = max(width / wide, height / high) / rng.uniform(0.6, 1)
    left, top = rng.uniform(0, wide * scale - width), rng.uniform(0, high * scale - height)
    clip = []
    for index, frame in enumerate(frames):
        zoom = 1 + (0.002 * index if still is not None else 0)
        matrix = np.array([[scale * zoom, 0, -left * zoom], [0, scale * zoom, -top * zoom]], np.float32)
        if scale < 1:
            frame = cv2.GaussianBlur(frame, (0, 0), 0.4 / scale)
        clip.append(cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))
    return np.stack(clip)


def video_frames(file: Path, rng: np.random.Generator) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        count = container.streams.video[0].frames
        start = int(rng.integers(max(1, count - FRAMES)))
        frames = []
        for index, frame in enumerate(container.decode(video=0)):
            if index >= start:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == FRAMES:
                break
    return frames


def encode(frames: Frames, **options: str) -> bytes:
    """Encode as other software would."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = options.pop("rate", None)
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if rate:
            stream.bit_rate = int(rate)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode(data: bytes | Path) -> Frames:
    with av.open(io.BytesIO(data) if isinstance(data, bytes) else str(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def resize(frames: Frames, factor: float) -> Frames:
    height, width = (round(side * factor) // 2 * 2 for side in frames.shape[1:3])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in frames])


def crop(frames: Frames) -> Frames:
    """Cut 10 % of the width and of the height off, unevenly."""
    height, width = frames.shape[1:3]
    top, left = round(height * 0.03), round(width * 0.07)
    return frames[:, top : top + round(height * 0.9) // 2 * 2, left : left + round(width * 0.9) // 2 * 2]


def half_and_back(frames: Frames) -> Frames:
    height, width = frames.shape[1:3]
    small = decode(encode(resize(frames, 0.5), crf="23"))
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in small])


CHANGES: dict[str, Callable[[Frames], Frames]] = {
    "the product's own encoding (CRF 18)": lambda frames: frames,
    "H.264 again at CRF 23": lambda frames: decode(encode(frames, crf="23")),
    "H.264 again at CRF 28": lambda frames: decode(encode(frames, crf="28")),
    "H.264 again at CRF 32": lambda frames: decode(encode(frames, crf="32")),
    "H.264 again at 1 Mbit/s": lambda frames: decode(encode(frames, rate="1000000")),
    "half size and back, CRF 23 between": half_and_back,
    "half size, CRF 23": lambda frames: decode(encode(resize(frames, 0.5), crf="23")),
    "cropped by 10 %, CRF 23": lambda frames: decode(encode(crop(frames), crf="23")),
    "cropped by 10 %, CRF 28": lambda frames: decode(encode(crop(frames), crf="28")),
    "every sixth frame dropped (30 to 25 fps), CRF 23": lambda frames: decode(
        encode(np.delete(frames, slice(5, None, 6), 0), crf="23")
    ),
    "screenshot (PNG of one frame)": lambda frames: frames[12:13],
    "screenshot at 1.25 times the size": lambda frames: resize(frames[12:13], 1.25),
    "screenshot as JPEG, quality 80": lambda frames: as_jpeg(frames[12]),
}


def as_jpeg(frame: np.ndarray) -> Frames:
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[None, ..., ::-1].copy()


def write(frames: Frames, folder: Path) -> int:
    """Encode as the product does; return the file's size."""
    with VideoWriter(folder / "clip.mp4", *frames.shape[2:0:-1]) as writer:
        writer.write(frames)
    return (folder / "clip.mp4").stat().st_size


def measure_marked(files: list[Path], clips: int, folder: Path) -> None:
    rng = np.random.default_rng(20)
    found = dict.fromkeys(CHANGES, 0)
    wrong, sizes = 0, [0, 0]
    ratios, similarities, embed_seconds, encode_seconds, detect_seconds = [], [], [], [], []
    for index in range(clips):
        clip = random_clip(files, rng)
        mark = Watermark(int(rng.integers(1 << BITS)))
        mark.embed(clip[:1])  # the pattern is made once per job
        started = time.perf_counter()
        marked = mark.embed(clip)
        embed_seconds.append((time.perf_counter() - started) / len(clip))
        error = np.mean((clip.astype(np.float32) - marked) ** 2)
        ratios.append(10 * np.log10(255**2 / error))
        similarities.append(structural_similarity(clip[0], marked[0], channel_axis=2))
        sizes[0] += write(clip, folder)
        started = time.perf_counter()
        sizes[1] += write(marked, folder)
        encode_seconds.append((time.perf_counter() - started) / len(clip))
        frames = decode(folder / "clip.mp4")
        for name, change in CHANGES.items():
            changed = change(frames)
            started = time.perf_counter()
            number = Watermark.detect(changed)
            detect_seconds.append(time.perf_counter() - started)
            found[name] += number == mark.number
            wrong += number not in (None, mark.number)
        print(f"{index + 1}/{clips} {list(found.values())}", flush=True)
    print(f"PSNR: lowest {min(ratios):.1f} dB, mean {np.mean(ratios):.1f} dB")
    print(f"SSIM: lowest {min(similarities):.4f}, mean {np.mean(similarities):.4f}")
    embed, encode = (1e3 * float(np.median(seconds)) for seconds in (embed_seconds, encode_seconds))
    print(f"per frame: mark {embed:.1f} ms, encode {encode:.1f} ms")
    print(f"size of the marked files: {100 * sizes[1] / sizes[0] - 100:+.0f} %")
    print(f"detection: median {np.median(detect_seconds):.2f} s, longest {max(detect_seconds):.1f} s")
    print(f"wrong numbers: {wrong}")
    for name, count in found.items():
        print(f"| {name} | {100 * count / clips:.0f} % |")


def measure_unmarked(files: list[Path], clips: int) -> None:
    rng = np.random.default_rng(21)
    positives = 0
    for index in range(clips):
        clip = random_clip(files, rng)
        positives += Watermark.detect(decode(encode(clip, crf="23")) if index % 2 else clip) is not None
        if index % 20 == 19:
            print(f"{index + 1}/{clips} unmarked: {positives} positives", flush=True)
    print(f"false positives: {positives} of {clips} unmarked clips")


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--unmarked", type=int, default=200)
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    files = sources(args.videos)
    print("sources:", ", ".join(file.name for file in files))
    with tempfile.TemporaryDirectory() as folder:
        measure_marked(files, args.clips, Path(folder))
    measure_unmarked(files, args.unmarked)


if __name__ == "__main__":
    main()
