"""Stopping the page: SIGTERM and Ctrl-C end the process cleanly, with status 0."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt in the main thread on the first Ctrl-C or SIGTERM; for the whole process."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored in background processes
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:  # a second signal would interrupt the cleanup
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def leave() -> NoReturn:
    """End the process with status 0 without joining its threads.

    A thread may wait for minutes for the models, and one that returns from a model call during Python's
    shutdown crashes the process.
    """
    atexit._run_exitfuncs()  # deletes temporary files of libraries and of espeak-ng
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
