"""Failure of one process: the others stop waiting for it and report its reason."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch
import torch.distributed as dist

from ..errors import ProcessFailed
from ..patches.torch import abort_calls
from ..runtime.process_memory import SMALLER, is_out_of_memory

Result = TypeVar("Result")

UNEXPLAINED = "ended without a reason. See its own output."
_KEY = "multitalk/failure"
_POLL_SECONDS = 0.5
# a broken connection is noticed before the report that explains it arrives
_REPORT_SECONDS = 5.0
# time for the main thread to end by itself after its calls are aborted; together with _REPORT_SECONDS it must
# stay below the 30 seconds after which torchrun kills a process
_GRACE_SECONDS = 10.0


class FailureWatch:
    """Shares the first failure of any process with all processes.

    The main thread may wait in a call that a failed process never joins. Two threads therefore watch for a
    reported failure and for a process that ended during a call. They abort the calls of this process; if the
    main thread still waits then, they end the process.

    Args:
        rank: Rank of this process.
        store: Store that all processes read and write.
        groups: Groups whose calls are aborted.
        device: Device of this process.
        neighbors: The other processes on this machine.
    """

    def __init__(
        self,
        rank: int,
        store: dist.Store,
        groups: list[dist.ProcessGroup],
        device: torch.device,
        neighbors: Neighbors,
    ) -> None:
        self.rank = rank
        self._store = store
        self._groups = groups
        self._device = device
        self._neighbors = neighbors
        self._calls = 0
        self._ended_since: float | None = None
        self._over = threading.Event()
        # two threads: a wait for the store blocks all its other calls in this process
        self._threads = [
            threading.Thread(target=self._watch, args=(check,), name="failure-watch", daemon=True)
            for check in (self._read, self._ended_in_call)
        ]
        for thread in self._threads:
            thread.start()
        # the interpreter aborts if it ends while a thread uses the store
        atexit.register(self.stop)

    @contextlib.contextmanager
    def in_call(self) -> Iterator[None]:
        """Enclose work that needs all processes."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def check_neighbors(self) -> None:
        """Raise :class:`ProcessFailed` if another process has failed or ended."""
        failure = self._read() or self._ended()
        if failure is not None and failure[0] != self.rank:
            raise ProcessFailed(failure[1])

    def explain(self, error: BaseException) -> BaseException:
        """Report an error of this process, or find the failure of another process that caused it.

        Args:
            error: The error that ended a call.

        Returns:
            The error to raise: `error` itself, or a :class:`ProcessFailed` that names the failed process.
        """
        connection_lost = _is_connection_error(error)
        failure = self._wait() if connection_lost else self._report(error)
        self._over.set()
        if failure is not None and failure[0] != self.rank:
            return ProcessFailed(failure[1])
        if connection_lost:
            return ProcessFailed(f"another process {UNEXPLAINED}")
        return error

    def stop(self) -> None:
        """Stop watching."""
        atexit.unregister(self.stop)
        self._over.set()
        for thread in self._threads:
            thread.join(_REPORT_SECONDS)

    def _report(self, error: BaseException) -> tuple[int, str] | None:
        """Report an error unless a failure is reported already; return the reported failure."""
        value = json.dumps([self.rank, f"process {self.rank} failed: {sentence_of(error)}"])
        with contextlib.suppress(RuntimeError):  # without the store, the other processes are gone as well
            self._store.compare_set(_KEY, "", value)
        return self._read()

    def _wait(self) -> tuple[int, str] | None:
        deadline = time.monotonic() + _REPORT_SECONDS
        while True:
            ended = self._ended()  # first, so that a report it left is read below
            failure = self._read() or ended
            if failure is not None or time.monotonic() > deadline:
                return failure
            time.sleep(0.1)

    def _read(self) -> tuple[int, str] | None:
        """Return rank and message of the first reported failure."""
        try:
            if not self._store.check([_KEY]):
                return None
            rank, message = json.loads(self._store.get(_KEY))
        except (RuntimeError, ValueError):
            return None
        return rank, message

    def _ended(self) -> tuple[int, str] | None:
        """Return rank and message of a process that has ended."""
        rank = self._neighbors.ended()
        return None if rank is None else (rank, f"process {rank} {UNEXPLAINED}")

    def _ended_in_call(self) -> tuple[int, str] | None:
        """Return a process that ended during a call, once the main thread has had time to notice it.

        Between calls, a process may end: it has done its part.
        """
        ended = self._ended() if self._calls else None
        if ended is None:
            self._ended_since = None
        elif self._ended_since is None:
            self._ended_since = time.monotonic()
        elif time.monotonic() > self._ended_since + _REPORT_SECONDS:
            return ended
        return None

    def _watch(self, check: Callable[[], tuple[int, str] | None]) -> None:
        while not self._over.wait(_POLL_SECONDS):
            failure = check()
            if failure is None or failure[0] == self.rank:
                continue
            for group in self._groups:
                abort_calls(group, self._device)
            if not self._over.wait(_GRACE_SECONDS):
                if self.rank == 0:
                    print(f"error: {failure[1]}", file=sys.stderr, flush=True)
                os._exit(1)


def sentence_of(error: BaseException) -> str:
    """Describe an error in one line."""
    if is_out_of_memory(error):
        return f"out of memory: {SMALLER}."
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def attempt(action: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    """Return the result of an action, or the error that it raised."""
    try:
        return action(), None
    except Exception as error:
        return None, error


def first_error(errors: Sequence[str | None]) -> tuple[int, str] | None:
    """Return rank and message of the first process with an error."""
    return next(((rank, error) for rank, error in enumerate(errors) if error is not None), None)


def _is_connection_error(error: BaseException) -> bool:
    """Return whether an error may result from the end of another process."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text or "process group" in text)


@dataclass(frozen=True)
class Identity:
    """Identifies a process among all others.

    Attributes:
        rank: Rank in the team.
        host: Name of its machine.
        number: Process id.
        created: Start time in seconds; it tells a reused process id apart.
    """

    rank: int
    host: str
    number: int
    created: float


def this_process(rank: int) -> Identity:
    """Return the identity of this process."""
    return Identity(rank, socket.gethostname(), os.getpid(), psutil.Process().create_time())


class Neighbors:
    """The processes of a team on this machine, as far as they are visible to this process.

    Args:
        team: Identities of all processes.
        rank: Rank of this process.
    """

    def __init__(self, team: Sequence[Identity], rank: int) -> None:
        self._processes: dict[int, psutil.Process] = {}
        for identity in team:
            if identity.rank != rank and identity.host == socket.gethostname():
                process = _process(identity)
                # another container with the same host name has its own process ids
                if process is not None and process.create_time() == identity.created:
                    self._processes[identity.rank] = process

    def ended(self) -> int | None:
        """Return the rank of the first process that has ended, or None."""
        return next((rank for rank, process in self._processes.items() if not _runs(process)), None)


def _process(identity: Identity) -> psutil.Process | None:
    try:
        return psutil.Process(identity.number)
    except psutil.NoSuchProcess:
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        # a zombie has ended, but its parent has not collected its exit status yet
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
