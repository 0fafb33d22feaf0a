"""A reference's most likely tokens at every completion position, computed once before training and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from charter.errors import UserError
from charter.progress import Bar
from charter.training.devices import here
from charter.training.divergence import TopTokens, top_tokens
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class KeptTokens:
    """The TopTokens of many groups in a file, read as they are needed: memory holds a row's."""

    def __init__(self, path: Path, groups: Sequence[Group]) -> None:
        ends = list(accumulate(group.predicted for group in groups))
        self._spans: Mapping[str, tuple[int, int]] = {
            group.key: (end - group.predicted, end) for group, end in zip(groups, ends, strict=True)
        }
        self._file = safe_open(str(path), framework="pt")
        self.digest = path.stem
        """Of the reference, the groups and how they were compared."""

    def of(self, groups: Sequence[Group]) -> TopTokens:
        """For the completion tokens of a row of these groups, in the row's order."""
        spans = [self._spans[group.key] for group in groups]

        def read(name: str) -> Tensor:
            kept = self._file.get_slice(name)
            return torch.cat([kept[start:end] for start, end in spans])

        return TopTokens(read("ids").long(), read("logprobs"), read("tail"))


def kept_tokens(
    reference: Callable[[], CompletionLogprobs],
    groups: Sequence[Group],
    row_tokens: int,
    digest: str,
    folder: Path,
    *,
    k: int,
    temperature: float,
    vocabulary: int,
    title: str,
) -> KeptTokens:
    """The reference's k most likely tokens, from `folder`, or computed and put there.

    reference: gives the model; called only when there is no file for this content.  digest: of its weights.
    The groups may have other prompts than those trained on, with the same completions.
    On disk a token takes 8 k + 4 bytes; while they are computed, all are in memory.
    Raises UserError when k is not below `vocabulary`.
    """
    if k >= vocabulary:
        raise UserError(
            f"{title}: the {k} most likely tokens of a vocabulary of {vocabulary} leave no others; ask for fewer."
        )
    content = hashlib.sha256(f"{digest} top {k} of {vocabulary} at {temperature}".encode())
    for group in groups:
        content.update(repr((group.key, group.prompt, group.completions, group.turns)).encode())
    path = folder / f"top-{content.hexdigest()[:32]}.safetensors"
    if not here().from_first(path.exists()):
        _compute(reference(), groups, row_tokens, path, k, temperature, vocabulary, title)
        # Nobody reads before the file is there.
        here().barrier()
    return KeptTokens(path, groups)


def vocabulary_of(model: PreTrainedModel) -> int:
    """How many tokens a model's head tells apart, padding of the table included."""
    head: Any = model.get_output_embeddings()
    return int(head.weight.shape[0])


def _compute(
    logprobs: CompletionLogprobs,
    groups: Sequence[Group],
    row_tokens: int,
    path: Path,
    k: int,
    temperature: float,
    vocabulary: int,
    title: str,
) -> None:
    """Every process runs a part of the groups; the first one writes."""
    devices = here()
    own: dict[str, list[Tensor]] = {}
    logprobs.eval()
    with Bar(title, len(groups), "prompts", shown=devices.first) as bar, torch.no_grad():
        for row, real in devices.share(groups, row_tokens):
            top = logprobs(row, lambda head, hidden: top_tokens(head, hidden, k, temperature, vocabulary))
            if not real:
                continue
            sizes = [group.predicted for group in row.groups]
            columns = [x.cpu().split(sizes) for x in (top.ids_NK.int(), top.logp_NK, top.tail_N)]
            own |= {group.key: [column[place] for column in columns] for place, group in enumerate(row.groups)}
            bar.update(min(len(own) * devices.world, len(groups)))
    found = devices.to_first(own)
    if found is None:
        return
    parts = {key: columns for part in found for key, columns in part.items()}
    ids, logp, tail = (torch.cat([parts[group.key][column] for group in groups]) for column in range(3))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({"ids": ids, "logprobs": logp, "tail": tail}, str(temporary))
    temporary.replace(path)
