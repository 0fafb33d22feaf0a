"""One training method on one file: what `charter train` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from charter.document.marked import Marked, read_yaml
from charter.errors import UserError
from charter.feedback.formats import read_preferences
from charter.feedback.ratings import read_ratings
from charter.recipes.preflight import check_trainable
from charter.recipes.recipe import explain
from charter.records import Demonstration
from charter.store.runfolder import RunFolder
from charter.training.catalogue import CATALOGUE, Reads, method
from charter.training.methods import Trained
from charter.training.settings import TrainSettings


def train_single(name: str, model: str, data: str, out: Path, config: Path | None) -> Trained:
    """Train by the method of that name into `out`; resumes what is there. Raises UserError on wrong input."""
    chosen = method(name)
    settings = _settings(chosen.settings, read_yaml(config) if config else None)
    rows = _rows(data, CATALOGUE[name].reads)
    check_trainable(model)
    with RunFolder(out).locked():
        return chosen.run(model, rows, settings, out)


def _rows(data: str, reads: Reads) -> list[Any]:
    if reads == "ratings":
        return list(read_ratings(data))
    preferences = read_preferences(data)
    if reads == "preferences":
        return list(preferences)
    return [Demonstration(row.id, row.prompt, row.chosen, row.clauses, row.source) for row in preferences]


def _settings(kind: type[TrainSettings], marked: Marked | None) -> TrainSettings:
    value: Any = (marked.value if marked else None) or {}
    if marked and not isinstance(value, dict):
        raise UserError(f"{marked.path}: settings are a mapping of keys to values, such as `epochs: 2`.")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        assert marked is not None
        raise UserError(explain(error, marked, kind)) from None
