"""What Content Credentials add to a video: bytes, seconds and memory, for videos of several lengths.

    python -m benchmarks.signing --minutes 1 10

Each video is written with the project's writer and signed in a process of its own, whose peak memory is
compared with that before the signature.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter

FPS, GROUP = 25, 25
SCRIPT = """
import resource, sys, time
from pathlib import Path
from multitalk.marks.credentials import sign_file
from multitalk.marks.identity import identity_of
from multitalk.marks.manifest import make_manifest
from multitalk.marks.settings import MarkSettings
import c2pa

path, identity = Path(sys.argv[1]), identity_of(MarkSettings.from_environment())
before, size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, path.stat().st_size
started, computed = time.monotonic(), time.process_time()
sign_file(path, make_manifest("MultiTalk", "Apache-2.0", {"seed": 42}), identity)
seconds, computed = time.monotonic() - started, time.process_time() - computed
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(f"{seconds:.2f} s ({computed:.2f} s of processor time), {path.stat().st_size - size} bytes, "
      f"{peak / 1024:.0f} MiB more at the peak")
"""


def write(path: Path, minutes: float, height: int, width: int) -> float:
    """Write a video of changing noise, with a tone; return the seconds that it takes."""
    rng = np.random.default_rng(0)
    pictures = np.kron(rng.integers(0, 256, (64, height // 16, width // 16, 3)), np.ones((1, 16, 16, 1)))
    seconds = round(minutes * 60)
    tone = (0.1 * np.sin(np.arange(seconds * 16000) * 0.1)).astype(np.float32)[:, None]
    started = time.monotonic()
    with VideoWriter(path, width, height, fps=FPS, sound=Sound(tone, 16000)) as writer:
        for start in range(0, seconds * FPS, GROUP):
            grain = rng.integers(-6, 7, (GROUP, height, width, 1))
            picture = pictures[start // GROUP % len(pictures)]
            writer.write(np.clip(picture + grain, 0, 255).astype(np.uint8))
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(240, 416))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for minutes in args.minutes:
            path = Path(folder) / "video.mp4"
            written = write(path, minutes, *args.size)
            size = path.stat().st_size / 1e6
            command = [sys.executable, "-c", SCRIPT, path]
            signed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(
                f"{minutes:g} min, {size:.1f} MB, written in {written:.0f} s; signed in {signed}", flush=True
            )


if __name__ == "__main__":
    main()
