"""Encode frames in a background thread, while the next ones are generated."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Any

from .video import VideoWriter

MAX_QUEUED = 24  # groups of up to 4 frames: about one clip


class BackgroundWriter:
    """Encode frames in order in a background thread.

    :meth:`write` blocks only while ``MAX_QUEUED`` groups of frames are waiting for the encoder.

    Args:
        writer: The video writer; nothing else may write to it meanwhile.

    Example:
        >>> with VideoWriter("out.mp4", 832, 480) as writer, BackgroundWriter(writer) as background:
        ...     for frames in groups:
        ...         background.write(frames)
    """

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=MAX_QUEUED)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._encode, name="video encoder", daemon=True)

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def write(self, frames: Any) -> None:
        """Queue frames ``T H W 3`` uint8, which must not change afterwards.

        Raises:
            Exception: The encoder failed on earlier frames.
        """
        self._raise_error()
        self._queue.put(frames)

    def finish(self) -> None:
        """Wait until everything is encoded.

        Raises:
            Exception: The encoder failed.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._raise_error()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stopped.set()  # the file is discarded: skip the queued frames
            self._queue.put(None)
            self._thread.join()
        else:
            self.finish()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _encode(self) -> None:
        while (frames := self._queue.get()) is not None:
            if self._stopped.is_set() or self._error is not None:
                continue  # empty the queue, so that the caller does not block
            try:
                self._writer.write(frames)
            except BaseException as error:
                self._error = error
