"""The other processes on this machine: whether they still run."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Identity:
    """What tells a process from all others.

    Attributes:
        rank: Its number in the team.
        host: Name of its machine.
        number: Its process id there.
        created: When it began, in seconds; an id is given again, this with it isn't.
    """

    rank: int
    host: str
    number: int
    created: float


def own_identity(rank: int) -> Identity:
    """This process's, for the others."""
    return Identity(rank, socket.gethostname(), os.getpid(), psutil.Process().create_time())


class Neighbours:
    """Those of a team that run on this machine, as far as this process can see them.

    Args:
        team: Every process's identity.
        rank: This process's number.
    """

    def __init__(self, team: Sequence[Identity], rank: int) -> None:
        self._seen: dict[int, psutil.Process] = {}
        for identity in team:
            if identity.rank != rank and identity.host == socket.gethostname():
                process = _process(identity)
                # in another container of the same name, ids are of others
                if process is not None and process.create_time() == identity.created:
                    self._seen[identity.rank] = process

    def ended(self) -> int | None:
        """The first that has ended, or None."""
        return next((rank for rank, process in self._seen.items() if not _runs(process)), None)


def _process(identity: Identity) -> psutil.Process | None:
    try:
        return psutil.Process(identity.number)
    except psutil.NoSuchProcess:
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        # one that nobody has asked for its status yet is there, but runs no more
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
