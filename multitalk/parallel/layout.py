"""How processes share the model calls of a video: by tokens, by guidance branches, or both."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInput


@dataclass(frozen=True)
class ParallelSettings:
    """A person's own choices of how processes share a video; None lets the pipeline choose.

    Attributes:
        branch_groups: Into how many groups the processes part to take guidance branches.
        share_weights: Whether each holds only its part of the transformer's large matrices.
    """

    branch_groups: int | None = None
    share_weights: bool | None = None


@dataclass(frozen=True)
class RankLayout:
    """Processes in rows: a row shares one guidance branch's tokens, the rows take different branches.

    Attributes:
        branch_groups: Rows.
        token_ranks: Processes in a row.
    """

    branch_groups: int
    token_ranks: int

    @property
    def processes(self) -> int:
        """How many there are."""
        return self.branch_groups * self.token_ranks

    def place(self, rank: int) -> tuple[int, int]:
        """Row and place in the row of a process."""
        return divmod(rank, self.token_ranks)

    def rows(self) -> list[list[int]]:
        """The processes of each row."""
        width = self.token_ranks
        return [list(range(row * width, (row + 1) * width)) for row in range(self.branch_groups)]

    def rounds(self, branches: int) -> int:
        """Model calls one after another in a step of so many branches."""
        return -(-branches // self.branch_groups)


def choose_layout(
    processes: int, heads: int, branches: int, branch_groups: int | None = None, even: bool = False
) -> RankLayout:
    """The fastest way to share a job's model calls.

    A step takes as long as its rounds, each shortened by the processes that share its tokens. Of two layouts
    that take as long, the one with more branch groups sends less: a group passes on a prediction a step,
    while tokens are exchanged in every block.

    Args:
        processes: How many there are.
        heads: Attention heads of the transformer, which the processes that share tokens divide evenly.
        branches: Guidance branches of the job.
        branch_groups: A person's own choice; None chooses.
        even: Whether every group must have as many branches as the others (shared weights need it).

    Raises:
        InvalidInput: They can't be shared so.
    """
    fitting = _fitting(processes, heads, branches, even)
    if branch_groups is not None:
        fitting = [layout for layout in fitting if layout.branch_groups == branch_groups]
        if not fitting:
            raise InvalidInput(
                f"{processes} processes in {branch_groups} branch groups can't share {heads} attention heads "
                f"and {_count(branches, 'guidance branch', 'guidance branches')}: leave branch groups out."
            )
    if not fitting:
        allowed = [count for count in range(1, processes) if _fitting(count, heads, branches, even)]
        raise InvalidInput(
            f"{processes} processes can't share {heads} attention heads and "
            f"{_count(branches, 'guidance branch', 'guidance branches')} evenly: start {_either(allowed)}."
        )
    return min(
        fitting, key=lambda layout: (layout.rounds(branches) / layout.token_ranks, -layout.branch_groups)
    )


def _fitting(processes: int, heads: int, branches: int, even: bool) -> list[RankLayout]:
    layouts = [
        RankLayout(groups, processes // groups)
        for groups in range(1, min(branches, processes) + 1)
        if not processes % groups and not (even and branches % groups)
    ]
    return [layout for layout in layouts if not heads % layout.token_ranks]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _either(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
