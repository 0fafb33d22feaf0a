"""Log-probs of many completions without gradients: references, held-out accuracy, `charter logprobs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from charter.progress import Bar
from charter.training.devices import Devices
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, sum_by_completion

ROW_TOKENS = 4096


def completion_logprob_sums(
    logprobs: CompletionLogprobs,
    groups: Sequence[Group],
    row_tokens: int,
    title: str,
    tail_weight: float = 1.0,
    devices: Devices = Devices(),
) -> dict[str, Tensor]:
    """Per key, summed log-probs (k,) of a group's completions, fp32 on CPU, with a progress bar.

    tail_weight: how much tokens beyond the shortest completion's length count, see `tail_weights`.
    devices: each of them runs a part of the groups, and all get all sums.
    """
    with Bar(title, len(groups), "prompts", shown=devices.first) as bar:
        return logprob_sums(
            logprobs, groups, row_tokens, lambda done: bar.update(done * devices.world), tail_weight, devices
        )


def logprob_sums(
    logprobs: CompletionLogprobs,
    groups: Sequence[Group],
    row_tokens: int,
    progress: Callable[[int], object] = lambda _: None,
    tail_weight: float = 1.0,
    devices: Devices = Devices(),
) -> dict[str, Tensor]:
    """`completion_logprob_sums` without the bar; `progress` hears how many groups are done here."""
    sums: dict[str, Tensor] = {}
    for row, logp_N in _forwards(logprobs, groups, row_tokens, devices):
        if tail_weight != 1:
            logp_N = logp_N * tail_weights(row, tail_weight).to(logp_N.device)
        parts = sum_by_completion(logp_N, row).cpu().split([len(g.completions) for g in row.groups])
        for group, part in zip(row.groups, parts, strict=True):
            sums[group.key] = part.clone()
        progress(len(sums))
    return {key: own for part in devices.gathered(sums) for key, own in part.items()}


def completion_logprobs(
    logprobs: CompletionLogprobs, groups: Sequence[Group], row_tokens: int
) -> dict[str, list[Tensor]]:
    """Per key, the log-probs of each completion's tokens, fp32 on CPU. Keys must be distinct."""
    found: dict[str, list[Tensor]] = {}
    for row, logp_N in _forwards(logprobs, groups, row_tokens):
        parts = iter(logp_N.cpu().split([len(ids) for group in row.groups for ids in group.completions]))
        for group in row.groups:
            found[group.key] = [next(parts).clone() for _ in group.completions]
    return found


def tail_weights(row: Row, alpha: float) -> Tensor:
    """Per completion token (N,), fp32: 1 up to the length of the group's shortest completion, `alpha` beyond.

    A weighted sum is then log p(shared length) + alpha · log p(the rest), which takes from a longer side the advantage
    or burden of its length: LD-DPO, Liu et al. 2024 (arXiv 2409.06411).
    """
    weights: list[float] = []
    for group in row.groups:
        shared = min(map(len, group.completions))
        for completion in group.completions:
            weights += [1.0] * shared + [alpha] * (len(completion) - shared)
    return torch.tensor(weights)


def token_logprobs(
    logprobs: CompletionLogprobs,
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    progress: Callable[[int], None],
) -> list[list[float]]:
    """Per (prompt ids, completion ids), the log-prob in nats of each completion token."""
    groups = [Group(str(i), prompt, (completion,)) for i, (prompt, completion) in enumerate(pairs)]
    found: dict[str, list[float]] = {}
    for row, logp_N in _forwards(logprobs, groups, ROW_TOKENS):
        parts = logp_N.cpu().split([len(group.completions[0]) for group in row.groups])
        for group, part in zip(row.groups, parts, strict=True):
            found[group.key] = part.tolist()
        progress(len(found))
    return [found[group.key] for group in groups]


def _forwards(
    logprobs: CompletionLogprobs, groups: Sequence[Group], row_tokens: int, devices: Devices = Devices()
) -> Iterator[tuple[Row, Tensor]]:
    logprobs.eval()
    for row, real in devices.share(groups, row_tokens):
        with torch.no_grad():
            logp_N = logprobs(row)
        if real:
            yield row, logp_N
