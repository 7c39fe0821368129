"""Frames encoded in a thread of their own, while the next ones are made."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Any

from .video import VideoWriter

MOST_WAITING = 24  # groups of up to 4 frames: about a clip


class BackgroundWriter:
    """Encodes what it is given in the order it comes, behind the caller's back.

    The caller waits only where the encoder is so far behind that `MOST_WAITING` groups of frames wait for it.

    Args:
        writer: Encodes; nothing else may write to it meanwhile.

    Example:
        >>> with VideoWriter("out.mp4", 832, 480) as writer, BackgroundWriter(writer) as background:
        ...     for frames in groups:
        ...         background.write(frames)
    """

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer
        self._waiting: queue.Queue[Any] = queue.Queue(maxsize=MOST_WAITING)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._encode, name="video encoder", daemon=True)

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def write(self, frames: Any) -> None:
        """Hand over frames ``T H W 3`` uint8, which must not change from here on.

        Raises:
            Exception: What the encoder raised on earlier frames.
        """
        self._raise_error()
        self._waiting.put(frames)

    def finish(self) -> None:
        """Wait until everything is encoded.

        Raises:
            Exception: What the encoder raised.
        """
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        self._raise_error()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stopped.set()  # the file is given up: what waits isn't encoded
            self._waiting.put(None)
            self._thread.join()
        else:
            self.finish()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _encode(self) -> None:
        while (frames := self._waiting.get()) is not None:
            if self._stopped.is_set() or self._error is not None:
                continue  # taken and dropped, so that the caller never waits for room
            try:
                self._writer.write(frames)
            except BaseException as error:
                self._error = error
