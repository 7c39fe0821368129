"""When a process of several fails: the others learn of it, stop waiting and say why."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

from ..errors import ProcessFailed
from ..runtime.process_memory import SMALLER, is_out_of_memory
from .neighbours import Neighbours

Result = TypeVar("Result")

WITHOUT_A_WORD = "ended without saying why: its own output may tell."
_KEY = "multitalk/failure"
_SECONDS_BETWEEN_LOOKS = 0.5
# a broken connection is noticed sooner than the report that explains it
_REPORT_SECONDS = 5.0
# what the main thread gets to end by itself once a call can't be finished; both together are less than the
# 30 seconds after which torchrun ends a process that could still say why
_GRACE_SECONDS = 10.0


class FailureWatch:
    """Passes on the first failure among the processes.

    Threads look for another process's failure, or its end in the middle of a call, and abort the
    connections, since the main thread may be waiting in a call that nobody else will make; if even that
    doesn't end the wait, it ends the process.

    Args:
        rank: Of this process.
        store: What all processes read and write.
        groups: Whose calls are aborted.
        device: Of this process.
        neighbours: Those whose end can be seen.
    """

    def __init__(
        self,
        rank: int,
        store: dist.Store,
        groups: list[dist.ProcessGroup],
        device: torch.device,
        neighbours: Neighbours,
    ) -> None:
        self.rank = rank
        self._store = store
        self._groups = groups
        self._device = device
        self._neighbours = neighbours
        self._calls = 0
        self._ended_since: float | None = None
        self._over = threading.Event()
        # apart: whoever waits for a key of the store keeps everybody in this process from asking it
        self._threads = [
            threading.Thread(target=self._watch, args=(look,), name="failure-watch", daemon=True)
            for look in (self._read, self._ended_in_call)
        ]
        for thread in self._threads:
            thread.start()
        # an interpreter that ends while a thread asks the store aborts
        atexit.register(self.stop)

    @contextlib.contextmanager
    def in_call(self) -> Iterator[None]:
        """Around what no process can finish without the others."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def check_neighbours(self) -> None:
        """Raise :class:`ProcessFailed` if another process has failed or ended."""
        failure = self._read() or self._ended()
        if failure is not None and failure[0] != self.rank:
            raise ProcessFailed(failure[1])

    def explain(self, error: BaseException) -> BaseException:
        """Report an error of this process to the others, or find the other's that caused it.

        Args:
            error: What ended a call.

        Returns:
            What to raise: the error itself, or a :class:`ProcessFailed` that says whose it was.
        """
        caused = _is_of_connection(error)
        failure = self._wait() if caused else self._report(error)
        self._over.set()
        if failure is not None and failure[0] != self.rank:
            return ProcessFailed(failure[1])
        if caused:
            return ProcessFailed(f"another process {WITHOUT_A_WORD}")
        return error

    def stop(self) -> None:
        """Watch no longer."""
        atexit.unregister(self.stop)
        self._over.set()
        for thread in self._threads:
            thread.join(_REPORT_SECONDS)

    def _report(self, error: BaseException) -> tuple[int, str] | None:
        """The failure that all processes know of: this one, if it is the first."""
        value = json.dumps([self.rank, f"process {self.rank} failed: {sentence_of(error)}"])
        with contextlib.suppress(RuntimeError):  # where the store is gone, so are the others
            self._store.compare_set(_KEY, "", value)
        return self._read()

    def _wait(self) -> tuple[int, str] | None:
        deadline = time.monotonic() + _REPORT_SECONDS
        while True:
            ended = self._ended()  # asked first: what it has reported by then is there to read
            failure = self._read() or ended
            if failure is not None or time.monotonic() > deadline:
                return failure
            time.sleep(0.1)

    def _read(self) -> tuple[int, str] | None:
        """The first process that has reported a failure, and what it said."""
        try:
            if not self._store.check([_KEY]):
                return None
            rank, sentence = json.loads(self._store.get(_KEY))
        except (RuntimeError, ValueError):
            return None
        return rank, sentence

    def _ended(self) -> tuple[int, str] | None:
        """A process that has ended, and what can be said of it."""
        rank = self._neighbours.ended()
        return None if rank is None else (rank, f"process {rank} {WITHOUT_A_WORD}")

    def _ended_in_call(self) -> tuple[int, str] | None:
        """The same, once the main thread has had its time to find out by itself; not between calls.

        Then all may end: who has done its part needn't wait for the others.
        """
        ended = self._ended() if self._calls else None
        if ended is None:
            self._ended_since = None
        elif self._ended_since is None:
            self._ended_since = time.monotonic()
        elif time.monotonic() > self._ended_since + _REPORT_SECONDS:
            return ended
        return None

    def _watch(self, look: Callable[[], tuple[int, str] | None]) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            failure = look()
            if failure is None or failure[0] == self.rank:
                continue
            self._abort()
            if not self._over.wait(_GRACE_SECONDS):
                if self.rank == 0:
                    print(f"error: {failure[1]}", file=sys.stderr, flush=True)
                os._exit(1)

    def _abort(self) -> None:
        for group in self._groups:
            backend = group._get_backend(self._device)
            # the name differs between torch 2.5 and later, and gloo has it in later ones only
            for name in ("abort", "_shutdown"):
                if hasattr(backend, name):
                    with contextlib.suppress(RuntimeError):
                        getattr(backend, name)()
                    break


def sentence_of(error: BaseException) -> str:
    """An error in one sentence."""
    if is_out_of_memory(error):
        return f"out of memory: {SMALLER}."
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def attempt(action: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    """What an action returns, or the error it ends with."""
    try:
        return action(), None
    except Exception as error:
        return None, error


def first_error(errors: Sequence[str | None]) -> tuple[int, str] | None:
    """The first process that has an error, and its sentence."""
    return next(((rank, error) for rank, error in enumerate(errors) if error is not None), None)


def _is_of_connection(error: BaseException) -> bool:
    """Whether an error is what a process gets when another one is gone."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text or "process group" in text)
