"""What a job gives: clips as they are made, and the finished video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..media.sound import Sound
from ..speech.report import SpeechReport


@dataclass(frozen=True)
class Clip:
    """A finished piece of the video.

    Attributes:
        index: Its number, from 0.
        frames: The frames the clip before hasn't shown, ``T H W 3`` uint8 on the CPU.
        latents: The clip's final latents, ``C T h w`` float32, motion frames included.
        seed: What the job's random numbers began from.
        start: Number of its first new frame in the video.
        total_frames: Frames of the whole video.
        sound: The user's own sound under its new frames.
    """

    index: int
    frames: torch.Tensor
    latents: torch.Tensor
    seed: int
    start: int
    total_frames: int
    sound: Sound


@dataclass(frozen=True)
class GenerationResult:
    """A finished video.

    Attributes:
        path: The mp4 file.
        frames: Its frames, 25 a second.
        seconds: Its length.
        seed: What the job's random numbers began from.
        timings: Seconds spent per stage.
        width, height: Its size in pixels.
        complete: False where the job was cancelled and what was done before is kept.
        speech: Which engine spoke, and who says which words when; None where all is the user's own sound.
    """

    path: Path
    frames: int
    seconds: float
    seed: int
    timings: dict[str, float]
    width: int
    height: int
    speech: SpeechReport | None = None
    complete: bool = True
