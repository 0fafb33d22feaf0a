"""Bootstraps for ensembles: how often each row counts for each head."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def bootstrap_counts(keys: Iterable[str], heads: int, seed: int) -> dict[str, Tensor]:
    """Per key, counts (heads,), fp32: every head draws as many rows as there are, with replacement (Efron 1979).

    A single head counts every row once. The order of the keys changes nothing, nor does the number of heads change what
    the first of them draw.
    """
    ordered = sorted(keys)
    if heads == 1:
        return {key: torch.ones(1) for key in ordered}
    columns = []
    for k in range(heads):
        # Apart from the streams that start the heads, whose seeds are the same numbers.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_000 + k)
        drawn = torch.randint(len(ordered), (len(ordered),), generator=generator)
        columns.append(torch.bincount(drawn, minlength=len(ordered)))
    return dict(zip(ordered, torch.stack(columns, 1).float(), strict=True))
