"""The page's end: a service manager's SIGTERM ends it as Ctrl-C does, and nothing of it stays behind."""

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
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt in the main thread, once; for the whole process."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a process in the background
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:  # another one would end the cleaning up
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def leave() -> NoReturn:
    """End the process as one that was asked to end, with status 0.

    Python itself would wait for threads first: minutes for a visitor's request that waits for the models. And
    one that comes back from a model call while Python takes itself apart makes the process crash.
    """
    atexit._run_exitfuncs()  # files that libraries and espeak-ng's voice keep
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
