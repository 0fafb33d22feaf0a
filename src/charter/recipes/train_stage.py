"""A training stage: rows of the data stage, a method, a model in the stage's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.feedback.formats import distinct_prompts
from charter.models.loading import model_digest, resolve
from charter.recipes.data_stage import DEMONSTRATIONS, HELDOUT, PREFERENCES, PROMPTS, RATINGS, SCORED, STEPWISE
from charter.recipes.rewards import cost_of, reward_of
from charter.recipes.watching import watch_for, watch_result
from charter.records import (
    Preference,
    demonstration_from,
    preference_from,
    prompt_from,
    rated_from,
    rated_sides,
    read_jsonl,
    scored_from,
    stepwise_from,
)
from charter.training.catalogue import CATALOGUE, Reads, method
from charter.training.devices import here
from charter.training.methods import AnySettings, Trained
from charter.training.policy_settings import ConstrainedSettings
from charter.training.reward_sources import WeightedSum
from charter.training.rollouts import RolloutSettings
from charter.training.settings import TrainSettings


@dataclass(frozen=True)
class _Job:
    stage: int
    model: str = ""
    data: Path = Path()
    folder: Path = Path()


_END = _Job(-1)
_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    PROMPTS: prompt_from,
    DEMONSTRATIONS: demonstration_from,
    PREFERENCES: preference_from,
    RATINGS: rated_from,
    SCORED: scored_from,
    STEPWISE: stepwise_from,
}


def run_train_stage(settings: AnySettings, model: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train `model` on the rows in `data`; returns where the result is, its digest and what was dropped."""
    rows = _rows(data, CATALOGUE[settings.method].reads)
    heldout = [preference_from(row) for _, row in read_jsonl(data / HELDOUT)]
    trained = run_method(settings.method, model, rows, settings, folder, heldout)
    return {
        "model": str(trained.model),
        "digest": digest_of(str(trained.model)),
        "rows": trained.rows,
        "dropped": dict(trained.dropped),
        "steps": trained.result.steps,
        "tokens": trained.result.tokens,
        "watch": watch_result(folder),
    }


def run_method(
    name: str,
    model: str,
    rows: Sequence[Any],
    settings: TrainSettings,
    folder: Path,
    heldout: Sequence[Preference] = (),
) -> Trained:
    """Run a method on its rows, with the rewards that its settings name if it samples its own completions.

    One that optimises a proxy is watched, unless its settings say otherwise; `heldout` are pairs to watch it on.
    """
    chosen = method(name)
    aims: list[WeightedSum] = []
    if isinstance(settings, RolloutSettings):
        aims.append(reward_of(settings.reward))
    watch = watch_for(settings, model, rows, heldout, aims[0] if aims else None, folder)
    if isinstance(settings, ConstrainedSettings) and settings.cost is not None:
        aims.append(cost_of(settings.cost))
    return chosen.run(model, rows, settings, folder, *aims, **({"observer": watch} if watch else {}))


def take_part(train: Sequence[AnySettings]) -> None:
    """What all processes but the first do in an alignment: their share of each training stage, until it ends."""
    while (job := here().from_first(_END)) != _END:
        run_train_stage(train[job.stage], job.model, job.data, job.folder)


def call_all(stage: int, model: str, data: Path, folder: Path) -> None:
    """Bid the other processes, if there are any, run a training stage together with this one."""
    here().from_first(_Job(stage, model, data, folder))


def dismiss_all() -> None:
    """Let the other processes end."""
    here().from_first(_END)


def digest_of(model: str) -> str:
    """Digest of a model's own weight files (an adapter folder: of the adapter)."""
    return model_digest(resolve(model))


def _rows(data: Path, reads: Reads) -> list[Any]:
    if reads == "demonstrations":
        return [demonstration_from(row) for _, row in read_jsonl(data / DEMONSTRATIONS)]
    if reads == "prompts":
        return distinct_prompts(read(row) for file, read in _READERS.items() for _, row in read_jsonl(data / file))[0]
    if reads == "scored":
        return [scored_from(row) for _, row in read_jsonl(data / SCORED)]
    if reads == "stepwise":
        return [stepwise_from(row) for _, row in read_jsonl(data / STEPWISE)]
    preferences = [preference_from(row) for _, row in read_jsonl(data / PREFERENCES)]
    if reads == "ratings":
        sides = [side for pair in preferences for side in rated_sides(pair)]
        return sides + [rated_from(row) for _, row in read_jsonl(data / RATINGS)]
    return preferences
