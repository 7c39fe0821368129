"""Evaluates weights on held-out people and voices: prints scores and writes a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from multitalk import MultiTalkPipeline

from .cases import make_case, run, score
from .trials import report


def contact_sheet(rows: list[np.ndarray], path: Path, columns: int = 9) -> None:
    """Write an image of evenly spaced frames, one row per video."""
    strips = []
    for frames in rows:
        indices = np.linspace(0, len(frames) - 1, columns).round().astype(int)
        strips.append(np.concatenate(list(frames[indices]), axis=1))
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips]
    Image.fromarray(np.concatenate(padded)).save(path)


def main() -> None:
    """Print a table of scores, and write a contact sheet of drawn and generated videos to the work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--one", type=int, default=24, help="held-out videos of one person")
    parser.add_argument("--two", type=int, default=8, help="held-out videos of two people")
    parser.add_argument("--seconds", type=float, default=3.2)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--shift", type=float, default=None)
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--sheet", type=Path, default=Path(__file__).parent / "work" / "sheet.png")
    parser.add_argument(
        "--trials", action="store_true", help="also test guidance, swapped voices and later clips"
    )
    arguments = parser.parse_args()
    pipeline = MultiTalkPipeline.from_pretrained(arguments.weights, device="cpu")
    kinds = ["one"] * arguments.one + [("turns", "first", "both")[n % 3] for n in range(arguments.two)]
    rows, speaking, silent = [], [], []
    for index, kind in enumerate(kinds):
        case = make_case(index, kind, arguments.seconds)
        frames = run(
            pipeline, case, steps=arguments.steps, shift=arguments.shift, audio_guidance=arguments.guidance
        )
        scores = score(case, frames)
        for person, result in enumerate(scores):
            (speaking if result.speaks else silent).append(result)
            print(
                f"{case.name:10} person {person + 1}  r {result.r:5.2f}  other {result.other:5.2f}  "
                f"amplitude {result.amplitude:4.2f}  {'speaks' if result.speaks else 'silent'}",
                flush=True,
            )
        if len(rows) < 16 and (index < 4 or kind != "one"):
            rows += [case.truth, frames]
    r, amplitude = np.array([one.r for one in speaking]), np.array([one.amplitude for one in speaking])
    print(f"speaking faces {len(r)}: r mean {r.mean():.3f} least {r.min():.3f}", end="; ")
    print(f"amplitude mean {amplitude.mean():.2f} least {amplitude.min():.2f}")
    if silent:
        moving = np.mean([one.movement for one in silent]) / np.mean([one.movement for one in speaking])
        print(f"silent faces {len(silent)}: move {100 * moving:.0f} % of a speaking one")
    contact_sheet(rows, arguments.sheet)
    if arguments.trials:
        report(pipeline)


if __name__ == "__main__":
    main()
