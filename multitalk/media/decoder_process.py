"""Start decoder processes (:mod:`.decoder`), give them jobs, and end them."""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from ..runtime.environment import decoder_variables, max_audio_seconds
from .decoder_messages import LENGTH, OUT_OF_MEMORY, pack, parse
from .stopping import check_stop

START_SECONDS = 120.0
POLL_SECONDS = 0.1  # between checks of time limits and cancellation
MAX_UNUSED = 1  # processes that are kept for the next file

Failure = Literal["time", "memory", "crash", "idle"]


@dataclass(frozen=True)
class Limits:
    """Limits of one job.

    Attributes:
        seconds: Processor time.
        wall_seconds: Time in total; longer, because other processes may use the processor.
        memory: Bytes in addition to those of the idle process (Linux only).
    """

    seconds: float
    wall_seconds: float
    memory: int


class DecodingFailed(Exception):
    """A decoder process did not complete a job.

    Args:
        reason: The limit that was reached, "crash", or "idle" if the process had ended before the job.
        trace: The decoder's traceback, for the log.
    """

    def __init__(self, reason: Failure, trace: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.trace = trace


class _Ended(Exception):
    """The decoder process closed its end of the socket."""


class DecoderProcess:
    """One decoder process, for one job at a time.

    Raises:
        RuntimeError: It does not start.
    """

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(POLL_SECONDS)
        command = [sys.executable, "-P", "-m", "multitalk.media.decoder", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries print warnings about damaged files
                env=decoder_variables(),
                start_new_session=True,  # Ctrl-C reaches only the parent
            )
        try:
            self._receive_message(time.monotonic() + START_SECONDS)
        except BaseException as error:
            self.end()
            if not isinstance(error, (_Ended, DecodingFailed)):
                raise
            status = self._process.returncode
        else:
            return
        raise RuntimeError(
            f"the decoder process did not start (exit status {status}): {' '.join(command[:-1])}"
        )

    def run(self, job: dict[str, Any], source: BinaryIO, limits: Limits) -> tuple[dict[str, Any], np.ndarray]:
        """Run a job; afterwards the process is ready for the next one, or has ended if this raises.

        Args:
            job: ``task``, ``name`` and ``field``; see :mod:`.decoder`.
            source: An open file.
            limits: Limits of the job.

        Returns:
            The reply, and its bytes, uint8 ``[n]``.

        Raises:
            DecodingFailed: The job failed, or reached a limit.
            Cancelled: The caller has gone.
        """
        deadline = time.monotonic() + limits.wall_seconds
        job = job | {"seconds": limits.seconds, "memory": limits.memory}
        job["max_audio_seconds"] = max_audio_seconds()
        try:
            self._send(job, source, deadline)
            reply, payload = self._receive_message(deadline)
        except (_Ended, OSError):
            reply = {"failure": self._reason()}
        except BaseException:
            self.end()
            raise
        if "failure" in reply:  # if it still runs, its memory may be in any state
            self.end()
            raise DecodingFailed(reply["failure"], reply.get("trace", ""))
        return reply, payload

    def end(self) -> None:
        """End the process at once."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, such as after being idle."""
        return self._process.poll() is not None

    def _reason(self) -> Failure:
        """Return why the process ended by itself."""
        try:
            status = self._process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            return "crash"
        if status == -signal.SIGXCPU:
            return "time"
        if status == 0:
            return "idle"
        # SIGKILL: the system's memory is full. SIGABRT: C++ libraries abort if an allocation fails.
        return "memory" if status in (OUT_OF_MEMORY, -signal.SIGKILL, -signal.SIGABRT) else "crash"

    def _send(self, job: dict[str, Any], source: BinaryIO, deadline: float) -> None:
        message, descriptors = pack(job), [source.fileno()]
        while message:
            with contextlib.suppress(TimeoutError):
                message = message[socket.send_fds(self._socket, [message], descriptors) :]
                descriptors = []
            _check(deadline)

    def _receive(self, count: int, deadline: float) -> tuple[bytes, list[int]]:
        """Receive exactly this many bytes, and the open files that were sent with them."""
        data, descriptors = b"", list[int]()
        while len(data) < count:
            with contextlib.suppress(TimeoutError):
                part, received, _, _ = socket.recv_fds(self._socket, count - len(data), 1)
                if not part:
                    raise _Ended
                data, descriptors = data + part, descriptors + received
            _check(deadline)
        return data, descriptors

    def _receive_message(self, deadline: float) -> tuple[dict[str, Any], np.ndarray]:
        """Receive a message, and its bytes in shared memory."""
        head, descriptors = self._receive(LENGTH.size, deadline)
        body, _ = self._receive(LENGTH.unpack(head)[0], deadline)
        message = parse(body)
        if not descriptors:
            return message, np.empty(0, np.uint8)
        with os.fdopen(descriptors[0], "rb") as file:
            # a private mapping is writable, and its memory is returned to the system as soon as it is unused
            shared = mmap.mmap(file.fileno(), message["bytes"], access=mmap.ACCESS_COPY)
        return message, np.frombuffer(shared, np.uint8)


def _check(deadline: float) -> None:
    check_stop()
    if time.monotonic() > deadline:
        raise DecodingFailed("time")


class DecoderPool:
    """Decoder processes: started when they are needed, and kept for the next file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unused: list[DecoderProcess] = []
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def run(
        self, job: dict[str, Any], source: BinaryIO, limits: Limits, keep: bool = True
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Run a job in a process; see :meth:`DecoderProcess.run`.

        Args:
            job: The job.
            source: An open file.
            limits: Limits of the job.
            keep: Whether the process may be kept; its memory does not always shrink after a large job.
        """
        while True:
            decoder = self.take()
            try:
                result = decoder.run(job, source, limits)
            except DecodingFailed as error:
                if error.reason != "idle":
                    raise
                continue
            self._give_back(decoder, keep)
            return result

    def close(self) -> None:
        """End all unused processes."""
        with self._lock:
            unused, self._unused = self._unused, []
        for decoder in unused:
            decoder.end()

    def _forget(self) -> None:
        """Start without processes; after a fork they belong to the parent."""
        self._lock = threading.Lock()
        self._unused = []

    def take(self) -> DecoderProcess:
        """Return an unused process, which the caller ends."""
        while True:
            with self._lock:
                if not self._unused:
                    break
                decoder = self._unused.pop()
            if not decoder.has_ended:
                return decoder
            decoder.end()
        return DecoderProcess()

    def _give_back(self, decoder: DecoderProcess, keep: bool) -> None:
        with self._lock:
            if keep and len(self._unused) < MAX_UNUSED:
                self._unused.append(decoder)
                return
        decoder.end()
