"""Which suffixes to try next: drawn from the gradient, and kept if they are new and the tokenizer reads them so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charter.redteam.gcg.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def allowed_tokens(tokenizer: PreTrainedTokenizerBase, vocabulary: int, *, ascii_only: bool = True) -> Tensor:
    """Which ids a suffix may hold (V,): no special ones, none outside the tokenizer; printable ASCII if asked."""
    allowed = torch.zeros(vocabulary, dtype=torch.bool)
    known = min(vocabulary, len(tokenizer))
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
    texts: list[str] = tokenizer.batch_decode([[i] for i in range(known)])
    fine = [
        i not in special and bool(text) and (not ascii_only or (text.isascii() and text.isprintable()))
        for i, text in enumerate(texts)
    ]
    allowed[:known] = torch.tensor(fine)
    return allowed


def draw(
    suffix_N: Tensor,
    gradient_NV: Tensor,
    allowed_V: Tensor,
    *,
    width: int,
    top: int,
    replace: int,
    generator: torch.Generator,
) -> Tensor:
    """`width` suffixes (C, N), each with `replace` random places changed to one of the `top` tokens that the gradient
    promises most of there (Zou et al. 2023, algorithm 1)."""
    count = len(suffix_N)
    promise = (-gradient_NV).masked_fill(~allowed_V.to(gradient_NV.device), -torch.inf)
    best_NK = promise.topk(min(top, int(allowed_V.sum())), -1).indices.cpu()
    places_CR = torch.rand((width, count), generator=generator).argsort(-1)[:, : min(replace, count)]
    picks_CR = torch.randint(0, best_NK.shape[1], places_CR.shape, generator=generator)
    tokens_CR = best_NK[places_CR, picks_CR]
    return suffix_N.cpu().repeat(width, 1).scatter_(1, places_CR, tokens_CR).to(suffix_N.device)


def distinct(suffixes_CN: Tensor, current_N: Tensor) -> Tensor:
    """Each suffix once, and not the current one, in their order."""
    changed = suffixes_CN[(suffixes_CN != current_N).any(1)]
    if not len(changed):
        return changed
    _, inverse = torch.unique(changed, dim=0, return_inverse=True)
    first = torch.full((int(inverse.max()) + 1,), len(inverse), device=inverse.device)
    first = first.scatter_reduce_(0, inverse, torch.arange(len(inverse), device=inverse.device), "amin")
    return changed[first.sort().values]


def read_back(suffixes_CN: Tensor, problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Which suffixes (C,) come back as the same tokens when the whole prompt is written out and read again.

    A problem without texts is checked on the suffix alone.
    """
    texts: list[str] = tokenizer.batch_decode(
        suffixes_CN.cpu(), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    same = torch.ones(len(suffixes_CN), dtype=torch.bool)
    for problem in problems:
        alone = not problem.before_text and not problem.after_text
        head, tail = ((), ()) if alone else (problem.before, problem.after)
        wanted = torch.cat(
            [torch.tensor(part).expand(len(suffixes_CN), -1) if isinstance(part, tuple) else part.cpu() for part in
             (head, suffixes_CN, tail) if len(part)], 1
        )  # fmt: skip
        found = _encode([f"{problem.before_text}{text}{problem.after_text}" for text in texts], tokenizer)
        width = wanted.shape[1]
        fits = torch.tensor([len(ids) == width for ids in found])
        table = torch.tensor([ids if len(ids) == width else [-1] * width for ids in found])
        same &= fits & (table == wanted).all(1)
    return same.to(suffixes_CN.device)


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    core: Any = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return [encoding.ids for encoding in core.encode_batch_fast(texts, add_special_tokens=False)]
