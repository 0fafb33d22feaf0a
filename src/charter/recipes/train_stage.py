"""A training stage: rows of the data stage, a method, a model in the stage's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charter.models.loading import model_digest, resolve
from charter.recipes.data_stage import DEMONSTRATIONS, PREFERENCES, RATINGS, SCORED
from charter.records import demonstration_from, preference_from, rated_from, rated_sides, read_jsonl, scored_from
from charter.training.catalogue import CATALOGUE, Reads, method
from charter.training.methods import AnySettings


def run_train_stage(settings: AnySettings, model: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train `model` on the rows in `data`; returns where the result is, its digest and what was dropped."""
    rows = _rows(data, CATALOGUE[settings.method].reads)
    trained = method(settings.method).run(model, rows, settings, folder)
    return {
        "model": str(trained.model),
        "digest": digest_of(str(trained.model)),
        "rows": trained.rows,
        "dropped": dict(trained.dropped),
        "steps": trained.result.steps,
        "tokens": trained.result.tokens,
    }


def digest_of(model: str) -> str:
    """Digest of a model's own weight files (an adapter folder: of the adapter)."""
    return model_digest(resolve(model))


def _rows(data: Path, reads: Reads) -> list[Any]:
    if reads == "demonstrations":
        return [demonstration_from(row) for _, row in read_jsonl(data / DEMONSTRATIONS)]
    if reads == "scored":
        return [scored_from(row) for _, row in read_jsonl(data / SCORED)]
    preferences = [preference_from(row) for _, row in read_jsonl(data / PREFERENCES)]
    if reads == "ratings":
        sides = [side for pair in preferences for side in rated_sides(pair)]
        return sides + [rated_from(row) for _, row in read_jsonl(data / RATINGS)]
    return preferences
