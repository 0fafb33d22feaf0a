"""Log-probs under the reference model, computed once before training and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from charter.training.devices import here
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.scoring import completion_logprob_sums


def cached_reference(
    logprobs: CompletionLogprobs,
    groups: Sequence[Group],
    row_tokens: int,
    model_digest: str,
    file: Path,
    tail_weight: float = 1.0,
) -> dict[str, Tensor]:
    """`completion_logprob_sums` under the untrained policy, kept in `file` by content of model and groups.

    On a resume the model in memory is the base again, but the cache is what makes the resumed run exact and quick.
    """
    digest = hashlib.sha256(model_digest.encode())
    if tail_weight != 1:
        digest.update(f"tail {tail_weight}".encode())
    for group in groups:
        digest.update(repr((group.key, group.prompt, group.completions)).encode())
    key = digest.hexdigest()[:32]
    path = file.with_name(f"{file.stem}-{key}.safetensors")
    devices = here()
    if devices.from_first(path.exists()):
        saved = load_file(str(path))["logprobs"]
        return {group.key: row for group, row in zip(groups, saved, strict=True)}
    sums = completion_logprob_sums(logprobs, groups, row_tokens, "reference log-probs", tail_weight, devices)
    if not devices.first:
        return sums
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({"logprobs": torch.stack([sums[group.key] for group in groups])}, str(temporary))
    temporary.replace(path)
    return sums
