"""What Content Credentials add to a video: bytes, seconds and memory, for videos of several lengths.

    python -m benchmarks.signing --minutes 1 10

A part is written with the project's writer and repeated. The file is signed in a process of its own, whose
peak memory is compared with that before the signature.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter

FPS, PART_SECONDS = 25, 6
SCRIPT = """
import sys, time
from pathlib import Path
from multitalk.marks.signing import sign_file
from multitalk.marks.identity import identity_of
from multitalk.marks.manifest import make_manifest
from multitalk.marks.settings import MarkSettings
import c2pa

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024

path, identity = Path(sys.argv[1]), identity_of(MarkSettings.from_environment())
size = path.stat().st_size
Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the present value
before, started, computed = memory("VmRSS"), time.monotonic(), time.process_time()
sign_file(path, make_manifest("MultiTalk", "Apache-2.0", {"seed": 42}), identity)
seconds, computed = time.monotonic() - started, time.process_time() - computed
print(f"{seconds:.2f} s ({computed:.2f} s of processor time), {path.stat().st_size - size} bytes, "
      f"{memory('VmHWM') - before:.0f} MiB more at the peak")
"""


def write(path: Path, height: int, width: int) -> None:
    """Write ``PART_SECONDS`` of changing noise with a tone."""
    rng = np.random.default_rng(0)
    tone = (0.1 * np.sin(np.arange(PART_SECONDS * 16000) * 0.1)).astype(np.float32)[:, None]
    with VideoWriter(path, width, height, fps=FPS, sound=Sound(tone, 16000)) as writer:
        for _ in range(PART_SECONDS):
            picture = np.kron(rng.integers(0, 256, (height // 16, width // 16, 3)), np.ones((16, 16, 1)))
            grain = rng.integers(-6, 7, (FPS, height, width, 1))
            writer.write(np.clip(picture + grain, 0, 255).astype(np.uint8))


def repeat(part: Path, path: Path, times: int) -> None:
    """Write a file with the packets of another one, several times after each other."""
    with av.open(str(part)) as source, av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        last = dict.fromkeys(copies, -(10**9))
        for number in range(times):
            source.seek(0)
            for packet in source.demux():
                index = packet.stream.index
                if packet.dts is not None:
                    shift = round(number * PART_SECONDS / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    if packet.dts <= last[index]:  # an audio frame that reaches into the next part
                        continue
                    last[index], packet.stream = packet.dts, copies[index]
                    target.mux(packet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0, 60.0])
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(480, 832))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        part, path = Path(folder) / "part.mp4", Path(folder) / "video.mp4"
        write(part, *args.size)
        for minutes in args.minutes:
            repeat(part, path, round(60 * minutes / PART_SECONDS))
            size = path.stat().st_size / 1e6
            command = [sys.executable, "-c", SCRIPT, path]
            signed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(f"{minutes:g} min, {size:.1f} MB: signed in {signed}", flush=True)


if __name__ == "__main__":
    main()
