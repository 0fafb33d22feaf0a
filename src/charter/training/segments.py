"""A flat run of items cut into consecutive segments: tokens into completions, completions into groups.

Nothing is padded, so nothing at padding can be read by mistake. Items that do not count (tokens that the policy did not
write, completions that nobody scored) are named by a mask, and every function here leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from charter.training.layout import Row


@dataclass(frozen=True, eq=False)
class Segments:
    """M items in S segments, one after another.

    sizes_S: int64, how many items each segment has.
    Raises ValueError for a segment without items, for values of another length, and for a mask that is not boolean.
    """

    sizes_S: Tensor

    def __post_init__(self) -> None:
        empty = (self.sizes_S < 1).nonzero()
        if len(empty):
            raise ValueError(f"segment {int(empty[0])} has no items: leave empty completions and empty groups out")

    @classmethod
    def of(cls, sizes: Sequence[int], device: torch.device | None = None) -> Segments:
        """From sizes as integers."""
        return cls(torch.tensor(sizes, dtype=torch.long, device=device))

    @cached_property
    def items(self) -> int:
        """M."""
        return int(self.sizes_S.sum())

    @cached_property
    def longest(self) -> int:
        """The largest size; 0 when there are no segments."""
        return int(self.sizes_S.max()) if len(self.sizes_S) else 0

    @cached_property
    def owner_M(self) -> Tensor:
        """For each item, the segment it is in; of a row's tokens this is `Row.sequence_N`."""
        numbers_S = torch.arange(len(self.sizes_S), device=self.sizes_S.device)
        return numbers_S.repeat_interleave(self.sizes_S)

    def kept(self, keep_M: Tensor | None) -> Tensor:
        """The mask itself, or all true; boolean (M,)."""
        if keep_M is None:
            return torch.ones(self.items, dtype=torch.bool, device=self.sizes_S.device)
        self._check(keep_M)
        if keep_M.dtype != torch.bool:
            raise ValueError(f"a mask is boolean; this one is {keep_M.dtype}")
        return keep_M

    def counts(self, keep_M: Tensor | None = None) -> Tensor:
        """How many items of each segment count, int64 (S,)."""
        return torch.zeros_like(self.sizes_S).index_add(0, self.owner_M, self.kept(keep_M).long())

    def sum(self, values_M: Tensor, keep_M: Tensor | None = None) -> Tensor:
        """Sum over each segment's items that count, (S,), in the dtype of the values."""
        self._check(values_M)
        # `where`, not a product: what is left out may be NaN.
        values_M = values_M.where(self.kept(keep_M), 0)
        return values_M.new_zeros(len(self.sizes_S)).index_add(0, self.owner_M, values_M)

    def mean(self, values_M: Tensor, keep_M: Tensor | None = None) -> Tensor:
        """Mean over each segment's items that count, (S,); 0 where none does."""
        return self.sum(values_M, keep_M) / self.counts(keep_M).clamp(min=1)

    def spread(self, values_S: Tensor) -> Tensor:
        """Each segment's value at every one of its items, (M,)."""
        return values_S[self.owner_M]

    def last(self, keep_M: Tensor | None = None) -> Tensor:
        """Index into M of each segment's last item that counts, (S,); -1 where none does."""
        places_M = torch.arange(self.items, device=self.sizes_S.device).where(self.kept(keep_M), -1)
        return torch.full_like(self.sizes_S, -1).scatter_reduce(0, self.owner_M, places_M, "amax")

    def _check(self, values_M: Tensor) -> None:
        if values_M.shape != (self.items,):
            raise ValueError(f"{self.items} items were expected, the values have shape {tuple(values_M.shape)}")


def completions_of(row: Row, device: torch.device | None = None) -> Segments:
    """A row's completion tokens (N) by completion (C)."""
    return Segments.of([len(completion) for group in row.groups for completion in group.completions], device)


def groups_of(row: Row, device: torch.device | None = None) -> Segments:
    """A row's completions (C) by prompt (G)."""
    return Segments.of([len(group.completions) for group in row.groups], device)
