"""Results of a job: its clips and the finished video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from ..media.sound import Sound
from ..speech.tracks import SpeechReport

if TYPE_CHECKING:
    from ..marks.frames import FrameMarks


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
        tags: Tags of the clip's files; they say that it was made by AI, if the request has ``mark``.
        frame_marks: The watermark and the label of the job's files, which :attr:`frames` do not have: pass
            them to the encoder.
    """

    index: int
    frames: torch.Tensor
    latents: torch.Tensor
    seed: int
    start: int
    total_frames: int
    sound: Sound
    tags: Mapping[str, str] = field(default_factory=dict)
    frame_marks: FrameMarks | None = None


@dataclass(frozen=True)
class Preview:
    """What a clip is expected to look like, while it is sampled.

    Attributes:
        clip: Index of the clip, from 0.
        clips: Number of clips.
        step: Number of completed steps.
        steps: Steps of a clip.
        frames: The new frames, one of four, ``T H W 3`` uint8 on the CPU.
        fps: Frames per second.
        tags: Tags of the preview's files, as those of a clip.
        frame_marks: The watermark and the label, as those of a clip.
    """

    clip: int
    clips: int
    step: int
    steps: int
    frames: torch.Tensor
    fps: Fraction
    tags: Mapping[str, str] = field(default_factory=dict)
    frame_marks: FrameMarks | None = None


OnPreview = Callable[[Preview], None]


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
        last_frame: The last frame, RGB, with the watermark and the label of the video, before encoding. If
            the file is marked, ``info["xmp"]`` says so, and ``multitalk.media.xmp.save_png`` writes that too.
        complete: False if the job was cancelled and the clips so far were kept.
        marks: What says in the file that it was made by AI: "c2pa" (Content Credentials) and "watermark".
            Empty if the request's ``mark`` is false.
        signed_by: Who signed it: the name in the certificate, or "this installation (self-signed)".
        watermark: The number in the video's watermark; None without one.
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
    marks: tuple[str, ...] = ()
    signed_by: str | None = None
    watermark: int | None = None
