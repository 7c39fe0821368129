"""Results of a job: its clips and the finished video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ..media.sound import Sound
from ..speech.tracks import SpeechReport


@dataclass(frozen=True)
class Clip:
    """A finished part of the video.

    Attributes:
        index: Index of the clip, from 0.
        frames: The new frames, without those of the previous clip, ``T H W 3`` uint8 on the CPU.
        latents: The clip's final latents, ``C T h w`` float32, including the motion frames.
        seed: Seed of the job.
        start: Index of the first new frame in the video, which may start with the video that it continues.
        total_frames: Number of frames of the whole video.
        sound: The part of the user's audio that belongs to the new frames.
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
        frames: Number of frames, 25 per second.
        seconds: Length of the video.
        seed: Seed of the job.
        timings: Seconds per stage.
        width, height: Size in pixels.
        model: The audio layers that were used: "multitalk", "infinitetalk-single" (one voice) or
            "infinitetalk-multi" (two).
        speech: The speech engine and the timed words of each person; None without text to speech.
        warnings: What the user should know about the result, such as a damaged part of the audio that was
            skipped; one sentence each.
        last_frame: The last frame, RGB, before it was encoded.
        complete: False if the job was cancelled and the clips so far were kept.
    """

    path: Path
    frames: int
    seconds: float
    seed: int
    timings: dict[str, float]
    width: int
    height: int
    model: str = "multitalk"
    speech: SpeechReport | None = None
    warnings: tuple[str, ...] = ()
    complete: bool = True
    last_frame: Image.Image | None = None
