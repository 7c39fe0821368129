"""Seconds of the speech engines' first call and later ones: ``python -m benchmarks.speech [--weights DIR]``.

Without weights a small random Kokoro is made; its decoder, most of the work, has the published size.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from multitalk.request.parts import Speech
from multitalk.speech.engine import SpeechEngine
from multitalk.speech.kokoro import KokoroEngine
from multitalk.speech.speak import SpokenScript, choose_engine, speak

SCRIPT = "(s1) Good morning! Did you see the moon last night? (s2) Oh yes, it was yellow and enormous."


def timed(call: Callable[[], SpokenScript]) -> tuple[float, float]:
    """Seconds a call takes, and seconds of sound it makes."""
    started = time.perf_counter()
    spoken = call()
    return time.perf_counter() - started, next(iter(spoken.tracks.values())).seconds


def count_loads() -> Callable[[], int]:
    """How often Kokoro's network is made from here on."""
    from kokoro import KModel

    made: list[None] = []
    make = KModel.__init__

    def counted(self: KModel, *arguments: object, **options: object) -> None:
        made.append(None)
        make(self, *arguments, **options)

    KModel.__init__ = counted
    return lambda: len(made)


def engines(weights: Path, device: str) -> Iterator[SpeechEngine]:
    """Those that can be measured with a folder of weights."""
    yield choose_engine()
    if isinstance(engine := choose_engine(weights, device), KokoroEngine):
        yield engine


def make_weights(folder: Path) -> Path:
    """A baked folder with nothing but a small random Kokoro and a small English tagger."""
    from multitalk.bake.kokoro import find_kokoro
    from multitalk.bake.published import PublishedWeights
    from tests.small_kokoro import make_small_kokoro

    published, baked = folder / "published", folder / "baked"
    published.mkdir()
    make_small_kokoro(published)
    files = find_kokoro(PublishedWeights(published))
    assert files is not None
    files.copy(baked)
    return baked


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, metavar="BAKED_DIR", help="a folder with Kokoro in it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("multitalk").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    print(f"{'engine':<12}{'first call':>12}{'later':>10}{'sound':>10}{'sound/later':>14}{'loads':>8}")
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or make_weights(Path(folder))
        for engine in engines(weights, options.device):
            loads = count_loads() if isinstance(engine, KokoroEngine) else lambda: 0
            speech = Speech(text=SCRIPT)
            first, _ = timed(lambda engine=engine, speech=speech: speak(speech, engine=engine))
            later = []
            for _ in range(options.repeats):
                seconds, sound = timed(lambda engine=engine, speech=speech: speak(speech, engine=engine))
                later.append(seconds)
            usual = statistics.median(later)
            times = f"{first:>12.3f}{usual:>10.3f}{sound:>10.2f}{sound / usual:>14.1f}"
            print(f"{engine.name:<12}{times}{loads():>8}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
