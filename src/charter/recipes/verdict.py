"""From what a run measured to its comparisons and the gate over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.evaluation.compare import Comparison, compare
from charter.evaluation.gate import CORE_METRICS, Gate, GateResult, MetricGate, alignment_gate
from charter.evaluation.results import Outcome
from charter.recipes.preference_accuracy import CHANCE
from charter.recipes.preflight import METRIC_SUITES, PREFERENCE_ACCURACY
from charter.recipes.recipe import Recipe
from charter.stats.noninferiority import worst
from charter.store.runfolder import StageDone


def comparisons_of(
    recipe: Recipe, before: Sequence[Outcome], later: Sequence[Outcome], heldout: dict[str, Any] | None
) -> list[Comparison]:
    """Every metric of the suites, and held-out preference accuracy against chance where pairs were held out."""
    rows = compare(before, later, recipe.seed) if recipe.suites else []
    return rows + ([_against_chance(heldout)] if heldout is not None else [])


def rules_of(recipe: Recipe, held_out: bool) -> Gate:
    """The recipe's gate, or the default for what it measures: safety and preferences must rise, the rest not fall."""
    if recipe.gate is not None:
        return Gate(metrics=recipe.gate)
    measured = {metric for metric in CORE_METRICS if METRIC_SUITES[metric] in recipe.suites}
    rules = {name: rule for name, rule in alignment_gate().metrics.items() if name in measured}
    if held_out:
        rules[PREFERENCE_ACCURACY] = MetricGate(min_gain=0.0)
    return Gate(metrics=rules)


def with_watches(gate: GateResult, trained: Sequence[StageDone]) -> GateResult:
    """The gate's verdict, or a worse one that the watch of a training stage came to: a model that games its reward
    does not pass, whatever it scores."""
    found = {done.name: watch for done in trained if (watch := done.result.get("watch")) is not None}
    verdict = worst([gate.verdict, *(watch["verdict"] for watch in found.values())])
    telling = [
        f"{stage}: {'reward hacking: ' * (verdict == 'regressed')}{watch['reason']}"
        for stage, watch in found.items()
        if watch["verdict"] == verdict and verdict != "pass"
    ]
    if not telling:
        return gate
    return GateResult(verdict, gate.decisions, "; ".join([gate.reason] * (gate.verdict == verdict) + telling))


def _against_chance(found: dict[str, Any]) -> Comparison:
    """The untouched model has no implicit reward to compare with: its side is a coin."""
    known = found["accuracy"] is not None
    return Comparison(
        suite="held-out preferences",
        metric=PREFERENCE_ACCURACY,
        slice=None,
        n=found["n"],
        base=CHANCE if known else None,
        candidate=found["accuracy"],
        delta=found["accuracy"] - CHANCE if known else None,
        ci_low=found["ci_low"] - CHANCE if known else None,
        ci_high=found["ci_high"] - CHANCE if known else None,
        p=found["p"],
        unscored=0,
        problem=None if known else "no held-out pair fits the token budget",
    )
