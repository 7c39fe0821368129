"""Errors that a user can act on; ``str(error)`` is a one-line message."""

from __future__ import annotations

from pathlib import Path


class MultiTalkError(Exception):
    """Base class of errors whose message is written for the user."""


class InvalidInput(MultiTalkError, ValueError):
    """Part of a request or a setting is invalid.

    Args:
        message: What is wrong and what is allowed, in one line.
        field: Request field that the error is about, such as ``"audio"``; None if it is no single field.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class WeightsError(MultiTalkError):
    """A weights folder is missing, incomplete or corrupt, or holds another model.

    Args:
        message: One line that names the file.
        file: The file, if the error is about one.
    """

    def __init__(self, message: str, file: Path | None = None) -> None:
        super().__init__(message)
        self.file = file


class Busy(MultiTalkError):
    """The memory that requests share is full for the moment; the caller can try again."""


class Cancelled(MultiTalkError):
    """The caller cancelled the run; clips that were already finished are kept."""


class ProcessFailed(MultiTalkError):
    """One of several processes that generate a video failed; the message names it and gives the reason."""
