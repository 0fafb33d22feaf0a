"""Held-out preference accuracy: does the trained policy, against its start, lean towards the chosen side?"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from charter.models.loading import load_model
from charter.models.template import chat_format
from charter.records import Preference
from charter.stats.intervals import clopper_pearson
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.rows import preference_groups
from charter.training.scoring import ROW_TOKENS, completion_logprob_sums

CHANCE = 0.5


def held_out_accuracy(base: str, candidate: str, rows: Sequence[Preference], max_tokens: int) -> dict[str, Any]:
    """Share of held-out pairs whose implicit reward (log-ratio candidate/base) is higher for chosen than rejected.

    The implicit reward of DPO is beta · log(pi/ref) (Rafailov et al. 2023, section 4); the untouched model's is zero
    for everything, so the comparison is with chance. Interval (Clopper and Pearson) and p (binomial) are exact.
    Also gives the share of pairs that each model ranks right by plain log-probability, which favours short answers.
    """
    from scipy.stats import binomtest

    sums: list[dict[str, Any]] = []
    groups: list[Group] = []
    dropped: Counter[str] = Counter()
    for name, title in ((base, "held-out pairs, base"), (candidate, "held-out pairs, candidate")):
        local = load_model(name)
        groups, dropped = preference_groups(rows, chat_format(local.tokenizer), max_tokens)
        sums.append(completion_logprob_sums(CompletionLogprobs(local.model), groups, ROW_TOKENS, title))
    before, after = sums
    margins = [float((after[g.key] - before[g.key]) @ after[g.key].new_tensor([1.0, -1.0])) for g in groups]
    right, n = sum(margin > 0 for margin in margins), len(groups)
    low, high = clopper_pearson(right, n)
    ranked = [sum(bool(side[g.key][0] > side[g.key][1]) for g in groups) / max(n, 1) for side in (before, after)]
    digest = hashlib.sha256(repr([(p.id, p.chosen, p.rejected) for p in rows]).encode()).hexdigest()
    return {
        "n": n,
        "accuracy": right / n if n else None,
        "ci_low": low,
        "ci_high": high,
        "p": float(binomtest(right, n, CHANCE).pvalue) if n else None,
        "ranked_base": ranked[0],
        "ranked_candidate": ranked[1],
        "dropped": dict(dropped),
        "digest": digest,
    }
