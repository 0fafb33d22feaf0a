"""The training methods by name, without importing any of them: help pages and error messages need no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from charter.errors import UserError, nearest

if TYPE_CHECKING:
    from charter.training.methods.base import Method

Reads = Literal["demonstrations", "preferences", "ratings", "scored", "stepwise", "prompts"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue. `module` (under `charter.training.methods`) holds the method as METHOD.

    gives: a policy, which later stages go on from; or a reward model, which stands beside it.
    """

    module: str
    reads: Reads
    summary: str
    gives: Literal["policy", "reward"] = "policy"


CATALOGUE: Final[Mapping[str, Entry]] = {
    "sft": Entry("sft", "demonstrations", "Supervised fine-tuning on demonstrations, or on the chosen side of pairs."),
    "distill": Entry("distill", "demonstrations", "One model into another, by the teacher's distribution per token."),
    "dpo": Entry("dpo", "preferences", "Direct preference optimisation; the reference is the model itself."),
    "robust_dpo": Entry("robust_dpo", "preferences", "DPO for labels of which a known share is flipped."),
    "ipo": Entry("ipo", "preferences", "Identity preference optimisation on summed log-ratios: a bounded margin."),
    "ipo_mean": Entry(
        "ipo_mean", "preferences", "Identity preference optimisation on log-ratios averaged over tokens."
    ),
    "slic": Entry("slic", "preferences", "A hinge on log-ratios: pairs that are apart by a margin are left alone."),
    "chi_po": Entry("chi_po", "preferences", "Chi-squared preference optimisation: a tighter tether than DPO's."),
    "simpo": Entry("simpo", "preferences", "Length-normalised log-probs and a target margin, without a reference."),
    "orpo": Entry("orpo", "preferences", "Imitation of the chosen side and an odds-ratio term, without a reference."),
    "kto": Entry("kto", "ratings", "Kahneman-Tversky optimisation on single completions found good or bad."),
    "online_dpo": Entry(
        "online_dpo", "prompts", "DPO on the policy's own completions, sampled and scored at each step."
    ),
    "grpo": Entry("grpo", "prompts", "Policy gradient on groups of samples: GRPO, Dr. GRPO, DAPO, GSPO, named apart."),
    "rloo": Entry("rloo", "prompts", "Policy gradient on whole completions against the mean of the others (RLOO)."),
    "reinforce_pp": Entry("reinforce_pp", "prompts", "Policy gradient on rewards per token, whitened over the batch."),
    "ppo": Entry("ppo", "prompts", "PPO: a policy gradient with a critic, apart or on the policy's body."),
    "best_of_n": Entry("best_of_n", "prompts", "Fine-tuning on the best of n samples of each prompt."),
    "reward": Entry("reward", "preferences", "A reward model from pairs (Bradley-Terry); k heads for doubt.", "reward"),
    "cost": Entry("cost", "preferences", "A cost model for harm: which is worse, and which is harmful.", "reward"),
    "reward_pointwise": Entry("reward_pointwise", "scored", "A reward model from scores, by regression.", "reward"),
    "reward_process": Entry("reward_process", "stepwise", "A reward model that scores every step.", "reward"),
}


def method(name: str) -> Method:
    """The method of that name. Raises UserError for an unknown one, with the nearest right name."""
    if name not in CATALOGUE:
        known = list(CATALOGUE)
        raise UserError(f'there is no training method "{name}".{nearest(name, known)} Methods: {", ".join(known)}.')
    found: Method = importlib.import_module(f"charter.training.methods.{CATALOGUE[name].module}").METHOD
    return found
