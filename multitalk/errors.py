"""The errors a user can act on; ``str(error)`` is one sentence."""

from __future__ import annotations

from pathlib import Path


class MultiTalkError(Exception):
    """Base of every error whose message is meant for the person who asked for the video."""


class InvalidInput(MultiTalkError, ValueError):
    """Something in a request can't be used.

    Args:
        message: One sentence saying what is wrong and what is allowed.
        field: The request's field it is about, such as ``"audio"``; None where no single field is to blame.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class WeightsError(MultiTalkError):
    """A weights folder is missing, incomplete, corrupt or of another model; the message names the file.

    Args:
        message: One sentence.
        file: The file it is about, where a caller may want to know whose it is.
    """

    def __init__(self, message: str, file: Path | None = None) -> None:
        super().__init__(message)
        self.file = file


class Cancelled(MultiTalkError):
    """The run was cancelled by its caller; what was finished before stays finished."""


class ProcessFailed(MultiTalkError):
    """One of several processes that make a video failed; the message says which, and why."""
