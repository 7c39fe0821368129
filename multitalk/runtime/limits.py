"""Limits on a request's inputs, set by environment variables."""

from __future__ import annotations

from collections.abc import Mapping

from .environment import read_number

DEFAULT_MAX_AUDIO_SECONDS = 600.0


def max_audio_seconds(environment: Mapping[str, str] | None = None) -> float:
    """Return the maximum length of an audio input in seconds: ``MAX_AUDIO_SECONDS``, default 600.

    Args:
        environment: Variables by name; None reads this process's.

    Raises:
        InvalidInput: The variable is not a number above 0.
    """
    return read_number("MAX_AUDIO_SECONDS", DEFAULT_MAX_AUDIO_SECONDS, "seconds", environment=environment)
