"""What is measured of a trained method: held-out accuracy, distance and length of what it says, what it refuses."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.evaluation.compare import compare
from charter.evaluation.results import Outcome, read_outcomes
from charter.evaluation.runner import evaluate
from charter.models.generation.local import LocalTextModel
from charter.models.loading import load_model
from charter.models.template import ChatFormat, chat_format
from charter.records import Exchange, Preference, Sampling
from charter.stats.intervals import clopper_pearson, z_of
from charter.training.catalogue import CATALOGUE
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.reference import cached_reference
from charter.training.reward_model import RewardModel
from charter.training.rows import preference_groups
from charter.training.scoring import ROW_TOKENS


def held_out(
    name: str, start: str, candidate: str, pairs: Sequence[Preference], longest: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Share of held-out pairs whose chosen side has the higher reward, with its exact interval.

    A policy's reward is the log-ratio to its start (Rafailov et al. 2023, section 4), a reward model's is its own.
    """
    groups = usable(pairs, start, longest)
    if CATALOGUE[name].gives == "reward":
        margins = reward_margins(candidate, [pair for pair in pairs if pair.id in {g.key for g in groups}])
    else:
        before, after = (log_probs(model, groups, args.runs / "heldout") for model in (start, candidate))
        ratios = [after[group.key] - before[group.key] for group in groups]
        margins = [float(ratio[0] - ratio[1]) for ratio in ratios]
    right, n = sum(margin > 0 for margin in margins), len(margins)
    low, high = clopper_pearson(right, n)
    return {"n": n, "value": right / n if n else None, "low": low, "high": high}


def usable(pairs: Sequence[Preference], model: str, longest: int) -> list[Group]:
    """The pairs that fit, as every method's training takes them."""
    groups, _ = preference_groups(pairs, _format(model), longest)
    return groups


def _format(model: str) -> ChatFormat:
    return chat_format(load_model(model).tokenizer)


def log_probs(model: str, groups: Sequence[Group], file: Path) -> dict[str, Any]:
    """Summed log-probs of the groups' completions, kept by the model's digest: a start is asked once for all."""
    local = load_model(model)
    return cached_reference(CompletionLogprobs(local.model), groups, ROW_TOKENS, local.digest, file)


def reward_margins(model: str, pairs: Sequence[Preference]) -> list[float]:
    """Reward of the chosen side less that of the rejected one; a pair with an unscored side is left out."""
    asked = [Exchange(pair.id, pair.prompt, side) for pair in pairs for side in (pair.chosen, pair.rejected)]
    found = [row.reward for row in RewardModel(model).reward(asked)]
    sides = zip(found[::2], found[1::2], strict=True)
    return [chosen - rejected for chosen, rejected in sides if chosen is not None and rejected is not None]


def moved(
    start: str, candidate: str, pairs: Sequence[Preference], longest: int, args: argparse.Namespace
) -> dict[str, Any]:
    """KL(candidate || start) per answer in nats, and length in tokens, of sampled answers to held-out prompts.

    The mean log-ratio of the candidate's own answers is an unbiased estimate (Schulman's k1). Of the models as they are
    loaded to answer: adapters merged, in the machine's dtype. Intervals are normal ones over prompts.
    """
    fitting = {group.key for group in usable(pairs, start, longest)}
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs if pair.id in fitting))[: args.prompts]
    local = load_model(candidate)
    format_ = chat_format(local.tokenizer)
    sampling = Sampling(args.tokens, 1.0, seed=args.seed)
    said = [answers[0] for answers in LocalTextModel(local).generate(prompts, sampling)]
    groups = [
        Group(str(i), format_.prompt_ids(prompt), (tuple(answer.tokens),))
        for i, (prompt, answer) in enumerate(zip(prompts, said, strict=True))
        if answer.tokens
    ]
    after, before = (log_probs(model, groups, args.runs / "drift") for model in (candidate, start))
    return {
        "kl": mean([float(after[group.key][0] - before[group.key][0]) for group in groups]),
        "length": mean([float(len(answer.tokens)) for answer in said]),
        "cut": sum(answer.finish == "length" for answer in said) / len(said),
        "tokens": args.tokens,
    }


def mean(values_N: Sequence[float]) -> dict[str, float]:
    """Mean and its 95% interval by the normal approximation."""
    middle, n = statistics.fmean(values_N), len(values_N)
    half = z_of(0.95) * statistics.stdev(values_N) / math.sqrt(n) if n > 1 else math.inf
    return {"n": n, "value": middle, "low": middle - half, "high": middle + half}


def refusals(model: str, folder: Path, suites: Sequence[str], args: argparse.Namespace) -> list[Outcome]:
    """The refusal suites on one model; finished ones are read from their logs."""
    logs = folder / "logs"
    evaluate(load_model(model), suites, logs, limit=args.samples, seed=args.seed, progress=_tell(folder.name))
    return read_outcomes(logs)


def _tell(name: str) -> Any:
    def progress(suite: str, done: int, total: int) -> None:
        if total and (done == total or done % 50 == 0):
            print(f"{name}: {suite} {done}/{total}", file=sys.stderr, flush=True)

    return progress


def against(before: Sequence[Outcome], after: Sequence[Outcome], seed: int) -> dict[str, Any]:
    """By metric, on the whole suites: rates before and after, the paired change with Tango's interval."""
    rows = [row for row in compare(before, after, seed) if row.slice is None]
    return {
        row.metric: {
            "n": row.n, "before": row.base, "after": row.candidate, "value": row.delta, "low": row.ci_low,
            "high": row.ci_high, "unscored": row.unscored,
        }
        for row in rows
    }  # fmt: skip
