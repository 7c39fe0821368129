"""Limits of the queue: how many videos may wait, and how much memory they may hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ..errors import MultiTalkError

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from .job import Job

MAX_WAITING = 50
MAX_PER_BROWSER = 10  # leaves room for other browsers
MAX_BYTES = 4 * 2**30  # of the decoded images and audio, which a job holds while it waits


def check_places(waiting: Collection[Job], owner: str) -> None:
    """Check that a browser may add a job to those that wait.

    Raises:
        MultiTalkError: The queue is full.
    """
    if len(waiting) >= MAX_WAITING:
        raise MultiTalkError(f"The queue is full ({MAX_WAITING} videos). Try again later.")
    if sum(job.owner == owner for job in waiting) >= MAX_PER_BROWSER:
        raise MultiTalkError(
            f"{MAX_PER_BROWSER} of your videos are already waiting. Wait until one of them starts."
        )


def check_memory(jobs: Iterable[Job], request: GenerationRequest, max_bytes: int) -> None:
    """Check that a request fits into the memory for the images and audio of all jobs.

    Raises:
        MultiTalkError: It does not fit.
    """
    # each request is read once, since the model thread clears those of finished jobs
    requests = [job.request for job in jobs]
    held = sum(_bytes_of(each) for each in requests if each is not None)
    if held + _bytes_of(request) > max_bytes:
        raise MultiTalkError(
            "The images and audio of waiting videos fill the memory reserved for them. Try again later, "
            "or use shorter audio."
        )


def _bytes_of(request: GenerationRequest) -> int:
    """Return the approximate size of a request in memory."""
    sounds = sum(sound.samples.nbytes for sound in (request.audio or {}).values())
    for sound in (request.source_sound, request.sound_before):
        sounds += 0 if sound is None else sound.samples.nbytes
    width, height = request.picture_size
    return sounds + width * height * 3
