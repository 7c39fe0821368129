"""The connections of one process to the others that share a video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..errors import Cancelled, MultiTalkError, ProcessFailed
from ..patches.torch import default_store
from ..pipeline.executor import JobOutcome
from .channel import Channel
from .failures import FailureWatch, Neighbors, first_error, sentence_of, this_process
from .launch import CALL_TIMEOUT
from .layout import RankLayout


@dataclass(frozen=True)
class Place:
    """The place of a process in a layout.

    Attributes:
        layout: Layout of all processes.
        row: Index of the process's branch group.
        tokens: The processes of its branch group, which share tokens; None if it is alone in the group.
        branches: The first process of every branch group, which exchange predictions; None if this process is
            not one of them or there is only one group.
    """

    layout: RankLayout
    row: int
    tokens: dist.ProcessGroup | None
    branches: dist.ProcessGroup | None


class Team:
    """Connects this process to the others. All processes must create their team at the same time.

    Args:
        device: Device of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._backend = "nccl" if device.type == "cuda" else "gloo"
        self._groups: list[dist.ProcessGroup] = []
        self._places: dict[RankLayout, Place] = {}
        self.channel = Channel(device, self.new_group(list(range(self.size))))
        neighbors = Neighbors(self.channel.gather(this_process(self.rank)), self.rank)
        self.watch = FailureWatch(self.rank, default_store(), self._groups, device, neighbors)
        self.broken = False

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def place(self, layout: RankLayout) -> Place:
        """Connect the processes of a layout; all processes must call it at the same time."""
        if layout not in self._places:
            row, column = layout.place(self.rank)
            # every process must take part in creating every group
            rows = [self.new_group(ranks) for ranks in layout.rows() if len(ranks) > 1]
            heads = [ranks[0] for ranks in layout.rows()]
            branches = self.new_group(heads) if len(heads) > 1 else None
            tokens = rows[row] if rows else None
            self._places[layout] = Place(layout, row, tokens, branches if column == 0 else None)
        return self._places[layout]

    def agree(self, error: BaseException | None) -> None:
        """Return if no process has an error; all processes must call it at the same time.

        Args:
            error: Error of this process, or None.

        Raises:
            BaseException: `error`, or a :class:`ProcessFailed` if another process has an error.
        """
        with self.together():
            failure = first_error(self.channel.gather(None if error is None else sentence_of(error)))
        if error is not None:
            raise error
        if failure is not None:
            raise ProcessFailed(f"process {failure[0]} failed: {failure[1]}")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Enclose work that all processes must complete: an error in one of them ends it in all."""
        try:
            with self.watch.in_call():
                yield
        except BaseException as error:
            self.broken = True
            raise self.watch.explain(error) from error

    @contextmanager
    def job(self) -> Iterator[JobOutcome]:
        """Enclose a job of process 0, and send its outcome to the others."""
        outcome = JobOutcome()
        try:
            yield outcome
        except MultiTalkError as error:
            outcome.error = error
            raise
        except KeyboardInterrupt:
            outcome.error = Cancelled("The job was interrupted.")
            raise
        except Exception as error:
            outcome.error = ProcessFailed(f"process 0 failed: {sentence_of(error)}")
            raise
        finally:
            if not self.broken:
                with self.together():
                    if isinstance(outcome.error, Cancelled):
                        # torchrun may have stopped this process because another one ended
                        self.watch.check_neighbors()
                    self.channel.send(outcome)

    def new_group(self, ranks: list[int]) -> dist.ProcessGroup:
        """Connect a group of processes; all processes, in the group or not, must call it at the same time."""
        group = dist.new_group(ranks, backend=self._backend, timeout=CALL_TIMEOUT)
        if self.rank in ranks:
            self._groups.append(group)
        return group
