"""The reference's log-probs of sampled completions, and the policy's distance from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from charter.training.kl import k1, k3
from charter.training.logprobs import CompletionLogprobs
from charter.training.reference import StartWeights
from charter.training.rollouts import Rollout
from charter.training.scoring import completion_logprobs


def reference_logprobs(
    logprobs: CompletionLogprobs, start: StartWeights, rollouts: Sequence[Rollout], row_tokens: int
) -> tuple[dict[str, list[Tensor]], dict[str, float]]:
    """(per key, the reference's log-probs of each sample's tokens; what to log of them)."""
    begun = time.monotonic()
    with start.restored():
        reference = completion_logprobs(logprobs, [rollout.group() for rollout in rollouts], row_tokens)
    return reference, {**kl_values(rollouts, reference), "seconds_reference": time.monotonic() - begun}


def kl_values(rollouts: Sequence[Rollout], reference: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
    """KL(policy || reference) per completion, in nats: `kl` by k1, `kl_k3` by k3, summed over tokens, mean of samples.

    Of all samples, scored or not, and of the distribution that they were drawn from: chosen ones would be biased.
    """
    pairs = [
        (torch.tensor(sample.logprobs), own)
        for rollout in rollouts
        for sample, own in zip(rollout.samples, reference[rollout.key], strict=True)
    ]
    of_k1, of_k3 = (sum(float(kind(*pair).sum()) for pair in pairs) / len(pairs) for kind in (k1, k3))
    return {"kl": of_k1, "kl_k3": of_k3}
