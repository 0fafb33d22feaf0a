"""Direct preference optimisation on shared-prompt rows.

The reference is the policy as the run finds it: its log-probs are computed once before training and cached, so no
second model is held and no adapter has to be switched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, sum_by_completion
from charter.training.loop import Tally
from charter.training.losses import dpo_loss, nll_loss
from charter.training.scoring import completion_logprob_sums


@dataclass(frozen=True)
class DpoObjective:
    """DPO with groups of (chosen, rejected). `reference`: per key, summed log-probs (2,) of both under the reference.

    sft_weight adds the chosen completion's length-normalised negative log-likelihood (RPO; Liu et al. 2024,
    arXiv 2405.16436), which keeps the chosen side from losing probability together with the rejected one.
    """

    reference: Mapping[str, Tensor]
    beta: float = 0.1
    label_smoothing: float = 0.0
    sft_weight: float = 0.0

    def weight(self, group: Group) -> float:  # noqa: ARG002 - the port's signature
        """Every pair counts once."""
        return 1.0

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed DPO loss of a row's pairs."""
        sums_P2 = sum_by_completion(logp_N, row).view(-1, 2)
        reference_P2 = torch.stack([self.reference[group.key] for group in row.groups]).to(sums_P2.device)
        ratios_P2 = sums_P2 - reference_P2
        margins_P = ratios_P2[:, 0] - ratios_P2[:, 1]
        losses_P = dpo_loss(margins_P, self.beta, self.label_smoothing)
        pairs = len(row.groups)
        with torch.no_grad():
            tally.add("margin", (self.beta * margins_P).sum(), pairs)
            tally.add("accuracy", (margins_P > 0).float().sum(), pairs)
            tally.add("chosen_reward", (self.beta * ratios_P2[:, 0]).sum(), pairs)
            tally.add("rejected_reward", (self.beta * ratios_P2[:, 1]).sum(), pairs)
        total = losses_P.sum()
        if self.sft_weight:
            lengths_P = logp_N.new_tensor([len(group.completions[0]) for group in row.groups])
            nll_P = nll_loss(sums_P2[:, 0], 1 / lengths_P)
            tally.add("chosen_nll", nll_P.detach().sum(), pairs)
            total = total + self.sft_weight * nll_P.sum()
        return total


def cached_reference(
    logprobs: CompletionLogprobs, groups: Sequence[Group], row_tokens: int, model_digest: str, file: Path
) -> dict[str, Tensor]:
    """`completion_logprob_sums` under the untrained policy, kept in `file` by content of model and groups.

    On a resume the model in memory is the base again, but the cache is what makes the resumed run exact and quick.
    """
    digest = hashlib.sha256(model_digest.encode())
    for group in groups:
        digest.update(repr((group.key, group.prompt, group.completions)).encode())
    key = digest.hexdigest()[:32]
    path = file.with_name(f"{file.stem}-{key}.safetensors")
    if path.exists():
        saved = load_file(str(path))["logprobs"]
        return {group.key: row for group, row in zip(groups, saved, strict=True)}
    sums = completion_logprob_sums(logprobs, groups, row_tokens, "reference log-probs")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({"logprobs": torch.stack([sums[group.key] for group in groups])}, str(temporary))
    temporary.replace(path)
    return sums
