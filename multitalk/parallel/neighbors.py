"""The other processes of a team on this machine, and whether they still run."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


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
