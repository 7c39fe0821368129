"""A video's tokens shared out over processes: Ulysses sequence parallelism (arXiv 2309.14509).

Every process holds a stretch of the tokens. Attention needs all of them, so for its length the processes
exchange tokens for heads: each then has every token of its share of the heads, and the attention kernel is
the one that a single process would use. All sizes follow from the shapes: nothing is asked of the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from .rotary import RotaryTable

# torch 2.5 has the older name only, newer ones warn of it
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def empty_to_receive(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Memory for what other processes send, of a tensor's dtype and on its device."""
    if like.is_cuda or torch.compiler.is_compiling():
        return like.new_empty(shape)
    # gloo writes from a thread of its own, which isn't in inference mode: torch 2.5 wouldn't let it
    with torch.inference_mode(False):
        return torch.empty(shape, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class TokenShard:
    """This process's stretch of a video's tokens.

    Attributes:
        group: The processes that share the video.
        rank: This one's number in the group.
        sizes: Tokens of each process, in their order; they differ by one at most.
        tokens_per_frame: Tokens of a latent frame, S.
    """

    group: dist.ProcessGroup
    rank: int
    sizes: tuple[int, ...]
    tokens_per_frame: int

    @classmethod
    def of(cls, group: dist.ProcessGroup, tokens: int, tokens_per_frame: int) -> TokenShard:
        """Cut so many tokens into stretches, as equal as they can be."""
        ranks = group.size()
        sizes = tuple(tokens // ranks + (rank < tokens % ranks) for rank in range(ranks))
        return cls(group, group.rank(), sizes, tokens_per_frame)

    @property
    def start(self) -> int:
        """Number of its first token."""
        return sum(self.sizes[: self.rank])

    @property
    def size(self) -> int:
        """How many tokens it has."""
        return self.sizes[self.rank]

    @property
    def frames(self) -> slice:
        """The latent frames that its tokens lie in."""
        end = self.start + self.size
        return slice(self.start // self.tokens_per_frame, -(-end // self.tokens_per_frame))

    @property
    def missing(self) -> tuple[int, int]:
        """Tokens of those frames that other processes have: before its own, and after."""
        end = self.start + self.size
        return self.start % self.tokens_per_frame, -end % self.tokens_per_frame

    def own(self, tensor: torch.Tensor) -> torch.Tensor:
        """Its stretch of ``B N ...``."""
        return tensor[:, self.start : self.start + self.size]

    def own_table(self, table: RotaryTable) -> RotaryTable:
        """Its stretch of cosines and sines, each ``1 N 1 D/2``."""
        cosines, sines = table
        return self.own(cosines), self.own(sines)

    def gather(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """All processes' ``B n C`` as ``B N C``, in every process."""
        largest = max(self.sizes)
        padded = hidden_states.new_zeros(hidden_states.shape[0], largest, *hidden_states.shape[2:])
        padded[:, : self.size] = hidden_states
        gathered = empty_to_receive((len(self.sizes), *padded.shape), padded)
        all_gather(gathered.flatten(0, 1), padded, group=self.group)
        return torch.cat([part[:, :size] for part, size in zip(gathered, self.sizes, strict=True)], dim=1)

    def tokens_to_heads(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give away tokens for heads, in one exchange for all three.

        Args:
            query, key, value: ``B n H D``: its own tokens, all heads.

        Returns:
            ``B N H/ranks D`` each: all tokens, its own heads.
        """
        ranks = len(self.sizes)
        heads = query.shape[2] // ranks
        # B n 3 (ranks h) D -> (ranks n) B 3 h D: what goes to one process lies together
        sent = torch.stack((query, key, value), dim=2).unflatten(3, (ranks, heads))
        sent = sent.permute(3, 1, 0, 2, 4, 5).flatten(0, 1)
        received = empty_to_receive((sum(self.sizes), *sent.shape[1:]), sent)
        self._exchange(received, sent, self.sizes, (self.size,) * ranks)
        query, key, value = received.transpose(0, 1).unbind(2)
        return query, key, value

    def heads_to_tokens(self, attended: torch.Tensor) -> torch.Tensor:
        """Give heads back for tokens: ``B N H/ranks D`` becomes ``B n H D``."""
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
        """The mean of each process's mean over its own heads, ``B 3 N``, the same in every process."""
        total = empty_to_receive(tuple(reference_map.shape), reference_map).copy_(reference_map)
        dist.all_reduce(total, group=self.group)
        return total / len(self.sizes)
