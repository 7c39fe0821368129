"""Ulysses sequence parallelism (arXiv 2309.14509): the tokens of a video are split across processes.

Every process holds a contiguous shard of the tokens. For attention an all-to-all exchanges tokens for heads:
each process then has all tokens of its share of the heads and runs the same attention kernel as a single
process. All sizes are derived from shapes, without host-device synchronization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from .rotary import RotaryTable

# torch 2.5 has only the older name, which is deprecated in newer versions
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def empty_to_receive(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Allocate a receive buffer with a tensor's dtype and device."""
    if like.is_cuda or torch.compiler.is_compiling():
        return like.new_empty(shape)
    # gloo writes from another thread, outside inference mode, which torch 2.5 forbids for inference tensors
    with torch.inference_mode(False):
        return torch.empty(shape, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class TokenShard:
    """This process's shard of the tokens of a video.

    Attributes:
        group: The processes that share the video.
        rank: Rank of this process in the group.
        sizes: Number of tokens of each rank; they differ by one at most.
        tokens_per_frame: Number of tokens in a latent frame, S.
    """

    group: dist.ProcessGroup
    rank: int
    sizes: tuple[int, ...]
    tokens_per_frame: int

    @classmethod
    def of(cls, group: dist.ProcessGroup, tokens: int, tokens_per_frame: int) -> TokenShard:
        """Split a number of tokens into shards of nearly equal size."""
        ranks = group.size()
        sizes = tuple(tokens // ranks + (rank < tokens % ranks) for rank in range(ranks))
        return cls(group, group.rank(), sizes, tokens_per_frame)

    @property
    def start(self) -> int:
        """Index of the shard's first token."""
        return sum(self.sizes[: self.rank])

    @property
    def size(self) -> int:
        """Number of tokens in the shard."""
        return self.sizes[self.rank]

    @property
    def frames(self) -> slice:
        """Latent frames that contain the shard's tokens."""
        end = self.start + self.size
        return slice(self.start // self.tokens_per_frame, -(-end // self.tokens_per_frame))

    @property
    def padding(self) -> tuple[int, int]:
        """Number of tokens of these frames that belong to other ranks, before and after the shard."""
        end = self.start + self.size
        return self.start % self.tokens_per_frame, -end % self.tokens_per_frame

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the shard of ``B N ...``."""
        return tensor[:, self.start : self.start + self.size]

    def take_table(self, table: RotaryTable) -> RotaryTable:
        """Return the shard of cosines and sines, each ``1 N 1 D/2``."""
        cosines, sines = table
        return self.take(cosines), self.take(sines)

    def gather(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Gather the shards ``B n C`` of all ranks as ``B N C``, on every rank."""
        largest = max(self.sizes)
        padded = hidden_states.new_zeros(hidden_states.shape[0], largest, *hidden_states.shape[2:])
        padded[:, : self.size] = hidden_states
        gathered = empty_to_receive((len(self.sizes), *padded.shape), padded)
        all_gather(gathered.flatten(0, 1), padded, group=self.group)
        return torch.cat([part[:, :size] for part, size in zip(gathered, self.sizes, strict=True)], dim=1)

    def tokens_to_heads(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Exchange tokens for heads, in one all-to-all for all three tensors.

        Args:
            query, key, value: ``B n H D``: the shard's tokens, all heads.

        Returns:
            ``B N H/ranks D`` each: all tokens, this rank's heads.
        """
        ranks = len(self.sizes)
        heads = query.shape[2] // ranks
        # B n 3 (ranks h) D -> (ranks n) B 3 h D: contiguous per receiving rank
        sent = torch.stack((query, key, value), dim=2).unflatten(3, (ranks, heads))
        sent = sent.permute(3, 1, 0, 2, 4, 5).flatten(0, 1)
        received = empty_to_receive((sum(self.sizes), *sent.shape[1:]), sent)
        self._exchange(received, sent, self.sizes, (self.size,) * ranks)
        query, key, value = received.transpose(0, 1).unbind(2)
        return query, key, value

    def heads_to_tokens(self, attended: torch.Tensor) -> torch.Tensor:
        """Exchange heads for tokens: ``B N H/ranks D`` to ``B n H D``."""
        ranks = len(self.sizes)
        sent = attended.transpose(0, 1)
        received = empty_to_receive((ranks * self.size, *sent.shape[1:]), sent)
        self._exchange(received, sent, (self.size,) * ranks, self.sizes)
        # (ranks n) B h D -> B n (ranks h) D
        return received.unflatten(0, (ranks, self.size)).permute(2, 1, 0, 3, 4).flatten(2, 3)

    def _exchange(
        self, received: torch.Tensor, sent: torch.Tensor, receive: tuple[int, ...], send: tuple[int, ...]
    ) -> None:
        dist.all_to_all_single(received, sent.contiguous(), list(receive), list(send), group=self.group)

    def mean_over_heads(self, reference_map: torch.Tensor) -> torch.Tensor:
        """Average reference maps ``B 3 N`` over all ranks' heads; the result is the same on every rank."""
        total = empty_to_receive(tuple(reference_map.shape), reference_map).copy_(reference_map)
        dist.all_reduce(total, group=self.group)
        return total / len(self.sizes)
