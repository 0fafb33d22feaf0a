"""One run of the red team: models loaded, attacks made, rows returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.errors import Unfinished
from charter.ports import Judge
from charter.records import Sampling
from charter.redteam.journal import Journal
from charter.redteam.parties import Party, fitting
from charter.redteam.protocol import Attack, Behaviour, Setting
from charter.redteam.scoring import attack_judge
from charter.redteam.sweep import Limits, Sweep


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a run. budget: most queries of the model for one behaviour and attack.

    steps, width: of attacks that optimise, and candidates a step.
    """

    attacks: Sequence[Attack]
    behaviours: Sequence[Behaviour]
    budget: int
    judge: Judge
    sampling: Sampling
    limits: Limits
    seed: int = 0
    steps: int = 100
    width: int = 256


@dataclass(frozen=True, slots=True)
class Ran:
    """The rows, and what the run did: queries asked and answered from the journal, tokens, why it stopped early."""

    rows: list[dict[str, Any]]
    asked: int
    replayed: int
    tokens: int
    stopped: str | None


def run(
    plan: Plan,
    parties: dict[str, Party],
    journal: Path | None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Ran:
    """Attack. parties: `target` and, where there are any, `attacker` and `translator`; closed at the end.

    Raises Unfinished when no query at all was answered.
    """
    judge = plan.judge
    target = parties["target"]
    with Journal(journal) as kept:
        setting = Setting(
            budget=plan.budget,
            sampling=plan.sampling,
            seed=plan.seed,
            fits=fitting(target.local, plan.sampling.max_tokens),
            local=target.local,
            attacker="attacker" in parties,
            translator="translator" in parties,
            behaviours=tuple(plan.behaviours),
            steps=plan.steps,
            width=plan.width,
            remember=lambda key, make: kept.remember(f"{target.identity}:{key}", make),
        )
        helped = attack_judge("refusal") if "attacker" in parties else None
        sweep = Sweep(parties, judge, setting, kept, plan.limits, progress, helper_judge=helped)
        try:
            outcomes = sweep.run(plan.attacks, plan.behaviours)
        finally:
            for party in parties.values():
                party.close()
    rows = [outcome.row(judge.name) for outcome in outcomes]
    queries = sum(outcome.queries for outcome in outcomes)
    if queries and all(outcome.unanswered == outcome.queries for outcome in outcomes):
        first = next(outcome.reason for outcome in outcomes if outcome.reason)
        raise Unfinished(f"None of {queries} queries could be scored. The first reason was: {first}")
    return Ran(rows, sweep.asked, sweep.replayed, sweep.tokens, sweep.stopped)
