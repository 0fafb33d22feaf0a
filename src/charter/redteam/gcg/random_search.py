"""Random search over suffixes with log-probabilities alone, no gradient (Andriushchenko et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from charter.redteam.gcg.candidates import allowed_tokens, distinct, read_back
from charter.redteam.gcg.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def random_search(
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    start: Sequence[int],
    *,
    steps: int,
    width: int,
    seed: int,
) -> tuple[str, float]:
    """(text, loss) of the best suffix seen. Each step changes a run of neighbouring tokens in `width` ways.

    The run is a quarter of the suffix at first and one token at the end. Use it inside `ready(model)`.
    """
    generator = torch.Generator().manual_seed(seed)
    current = torch.tensor(list(start), device=objective.device)
    usable = allowed_tokens(tokenizer, objective.vocabulary).nonzero()[:, 0]
    best = float(objective.losses(current[None])[0])
    for step in range(steps):
        length = max(1, round(len(current) / 4 * (1 - step / steps)))
        tried = current.cpu().repeat(width, 1)
        for row in tried:
            at = int(torch.randint(0, len(row) - length + 1, (1,), generator=generator))
            row[at : at + length] = usable[torch.randint(0, len(usable), (length,), generator=generator)]
        tried = distinct(tried.to(current.device), current)
        tried = tried[read_back(tried, [objective.problem], tokenizer)] if len(tried) else tried
        if not len(tried):
            continue
        losses = objective.losses(tried)
        at = int(losses.argmin())
        if float(losses[at]) < best:
            best, current = float(losses[at]), tried[at]
    text = tokenizer.decode(current.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(text), best
