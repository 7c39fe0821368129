"""When a process of several fails: the others learn of it, stop waiting and say why."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

from ..errors import ProcessFailed
from ..process_memory import SMALLER, is_out_of_memory

Result = TypeVar("Result")

_KEY = "multitalk/failure"
_SECONDS_BETWEEN_LOOKS = 0.5
# what the main thread gets to end by itself once a call can't be finished
_GRACE_SECONDS = 20.0
# a broken connection is noticed sooner than the report that explains it
_REPORT_SECONDS = 5.0


class FailureWatch:
    """Passes on the first failure among the processes.

    A thread looks for another process's failure and aborts the connections, since the main thread may be
    waiting in a call that nobody else will make; if even that doesn't end the wait, it ends the process.

    Args:
        rank: Of this process.
        store: What all processes read and write.
        groups: Whose calls are aborted.
        device: Of this process.
    """

    def __init__(
        self, rank: int, store: dist.Store, groups: list[dist.ProcessGroup], device: torch.device
    ) -> None:
        self.rank = rank
        self._store = store
        self._groups = groups
        self._device = device
        self._over = threading.Event()
        threading.Thread(target=self._look, name="failure-watch", daemon=True).start()

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
            return ProcessFailed(f"process {failure[0]} failed: {failure[1]}")
        if caused:
            return ProcessFailed("another process ended without saying why: its own output may tell.")
        return error

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def _report(self, error: BaseException) -> tuple[int, str] | None:
        """The failure that all processes know of: this one, if it is the first."""
        value = json.dumps([self.rank, sentence_of(error)])
        with contextlib.suppress(RuntimeError):  # where the store is gone, so are the others
            self._store.compare_set(_KEY, "", value)
        return self._read()

    def _wait(self) -> tuple[int, str] | None:
        deadline = time.monotonic() + _REPORT_SECONDS
        while (failure := self._read()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return failure

    def _read(self) -> tuple[int, str] | None:
        try:
            if not self._store.check([_KEY]):
                return None
            rank, sentence = json.loads(self._store.get(_KEY))
        except (RuntimeError, ValueError):
            return None
        return rank, sentence

    def _look(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            failure = self._read()
            if failure is None or failure[0] == self.rank:
                continue
            self._abort()
            if not self._over.wait(_GRACE_SECONDS):
                if self.rank == 0:
                    print(f"error: process {failure[0]} failed: {failure[1]}", file=sys.stderr, flush=True)
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
