"""The reference: the policy as a stage finds it.

Of completions that are there before training, its log-probs are computed once and kept on disk. For completions sampled
during training, the weights themselves are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

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


class StartWeights:
    """The trained weights as they are now, to be put in their place again later without a copy.

    Of adapters that is a few megabytes; where all weights are trained it is a second copy of them. A fresh adapter's
    start is its base; one that an earlier stage trained starts as that stage left it (decision 0001).
    """

    def __init__(self, model: nn.Module) -> None:
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._start = [weight.detach().clone() for weight in self._trained]

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Within the block the model is the one of the start. No graph that is still to go backward may be alive."""
        now = [weight.data for weight in self._trained]
        self._put(self._start)
        try:
            yield
        finally:
            self._put(now)

    def _put(self, values: Sequence[Tensor]) -> None:
        for weight, value in zip(self._trained, values, strict=True):
            weight.data = value
