"""How processes share the model calls of a video: by tokens, by guidance branches, or by both."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInput


@dataclass(frozen=True)
class ParallelSettings:
    """Settings of how processes share a video; None lets the pipeline choose.

    Attributes:
        branch_groups: Number of groups of processes that compute different guidance branches.
        share_weights: Whether each process holds only its part of the transformer's large matrices.
    """

    branch_groups: int | None = None
    share_weights: bool | None = None


@dataclass(frozen=True)
class RankLayout:
    """Processes in rows: a row shares the tokens of a guidance branch; rows compute different branches.

    Attributes:
        branch_groups: Number of rows.
        token_ranks: Processes per row.
    """

    branch_groups: int
    token_ranks: int

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.branch_groups * self.token_ranks

    def place(self, rank: int) -> tuple[int, int]:
        """Return the row of a process and its position in the row."""
        return divmod(rank, self.token_ranks)

    def rows(self) -> list[list[int]]:
        """Return the ranks of each row."""
        width = self.token_ranks
        return [list(range(row * width, (row + 1) * width)) for row in range(self.branch_groups)]

    def rounds(self, branches: int) -> int:
        """Return the number of consecutive model calls of a step with this many branches."""
        return -(-branches // self.branch_groups)


def choose_layout(
    processes: int, heads: int, branches: int, branch_groups: int | None = None, even: bool = False
) -> RankLayout:
    """Choose the fastest layout for the model calls of a job.

    The time of a step is its number of rounds divided by the processes that share the tokens of a round. If
    two
    layouts take the same time, the one with more branch groups is chosen, since it sends less: a group sends
    one prediction per step, while tokens are exchanged in every block.

    Args:
        processes: Number of processes.
        heads: Attention heads of the transformer; a multiple of the processes that share tokens.
        branches: Guidance branches of the job.
        branch_groups: Number of branch groups; None chooses.
        even: Whether all groups must have the same number of branches, as shared weights require.

    Raises:
        InvalidInput: No layout fits.
    """
    fitting = _fitting(processes, heads, branches, even)
    if branch_groups is not None:
        fitting = [layout for layout in fitting if layout.branch_groups == branch_groups]
        if not fitting:
            raise InvalidInput(
                f"--branch-groups {branch_groups} does not fit {processes} processes, {heads} attention "
                f"heads and {_branches(branches)}. Remove it to choose automatically."
            )
    if not fitting:
        allowed = [count for count in range(1, processes) if _fitting(count, heads, branches, even)]
        raise InvalidInput(
            f"{processes} processes cannot share {heads} attention heads and "
            f"{_branches(branches)} evenly. Start {_either(allowed)}."
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


def _branches(number: int) -> str:
    return f"{number} guidance {'branch' if number == 1 else 'branches'}"


def _either(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
