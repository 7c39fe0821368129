"""The processes that make one video, as one of them sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from ..errors import Cancelled, MultiTalkError, ProcessFailed
from .channel import Channel
from .failures import FailureWatch, first_error, sentence_of
from .launch import CALL_TIMEOUT
from .layout import RankLayout
from .neighbours import Neighbours, own_identity


@dataclass(frozen=True)
class Place:
    """Where a process stands in a layout.

    Attributes:
        layout: Of all processes.
        row: Number of its branch group.
        tokens: The processes of its branch group, which share tokens; None where it is alone in it.
        branches: The first process of every branch group, which exchange predictions; None where it isn't
            one of them or there is one group.
    """

    layout: RankLayout
    row: int
    tokens: dist.ProcessGroup | None
    branches: dist.ProcessGroup | None


@dataclass
class JobEnd:
    """How a job ended on process 0.

    Attributes:
        result: What its caller got.
        error: What it ended with instead.
    """

    result: Any = None
    error: MultiTalkError | None = None


class Team:
    """This process's connections to the others. All processes must make theirs at the same time.

    Args:
        device: Of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._backend = "nccl" if device.type == "cuda" else "gloo"
        self._groups: list[dist.ProcessGroup] = []
        self._places: dict[RankLayout, Place] = {}
        self.channel = Channel(device, self.new_group(list(range(self.size))))
        neighbours = Neighbours(self.channel.gather(own_identity(self.rank)), self.rank)
        self.watch = FailureWatch(self.rank, _get_default_store(), self._groups, device, neighbours)
        self.broken = False

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def place(self, layout: RankLayout) -> Place:
        """Connect as a layout says; all processes must do so at the same time."""
        if layout not in self._places:
            row, column = layout.place(self.rank)
            # every process makes every group, whether it is in it or not
            rows = [self.new_group(ranks) for ranks in layout.rows() if len(ranks) > 1]
            heads = [ranks[0] for ranks in layout.rows()]
            branches = self.new_group(heads) if len(heads) > 1 else None
            tokens = rows[row] if rows else None
            self._places[layout] = Place(layout, row, tokens, branches if column == 0 else None)
        return self._places[layout]

    def agree(self, error: BaseException | None) -> None:
        """Go on if no process has an error; all processes must ask at the same time.

        Raises:
            BaseException: `error`, or a :class:`ProcessFailed` where another process has one.
        """
        with self.together():
            found = first_error(self.channel.gather(None if error is None else sentence_of(error)))
        if error is not None:
            raise error
        if found is not None:
            raise ProcessFailed(f"process {found[0]} failed: {found[1]}")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around what all processes must do to its end: an error in one of them is one of all."""
        try:
            with self.watch.in_call():
                yield
        except BaseException as error:
            self.broken = True
            raise self.watch.explain(error) from error

    @contextmanager
    def job(self) -> Iterator[JobEnd]:
        """Around a job on process 0: the others are told how it ended."""
        end = JobEnd()
        try:
            yield end
        except MultiTalkError as error:
            end.error = error
            raise
        except KeyboardInterrupt:
            end.error = Cancelled("The job was interrupted.")
            raise
        except Exception as error:
            end.error = ProcessFailed(f"process 0 failed: {sentence_of(error)}")
            raise
        finally:
            if not self.broken:
                with self.together():
                    if isinstance(end.error, Cancelled):
                        # who cancels may be torchrun, which ends all processes when one is gone
                        self.watch.check_neighbours()
                    self.channel.send(end)

    def new_group(self, ranks: list[int]) -> dist.ProcessGroup:
        """Connect some processes anew; all processes, in the group or not, must do so at the same time."""
        group = dist.new_group(ranks, backend=self._backend, timeout=CALL_TIMEOUT)
        if self.rank in ranks:
            self._groups.append(group)
        return group
