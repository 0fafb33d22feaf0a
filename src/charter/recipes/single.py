"""One training method on one file: what `charter train` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from charter.document.marked import Marked, read_yaml
from charter.errors import UserError
from charter.feedback.formats import read_preferences
from charter.recipes.preflight import check_trainable
from charter.recipes.recipe import explain
from charter.records import Demonstration
from charter.store.runfolder import RunFolder
from charter.training.methods import DpoSettings, SftSettings, Trained, train_dpo, train_sft


def train_single(method: str, model: str, data: str, out: Path, config: Path | None) -> Trained:
    """Train by `method` ("sft" or "dpo") into `out`; resumes what is there. Raises UserError on wrong input."""
    marked = read_yaml(config) if config else None
    settings_type: type[SftSettings | DpoSettings] = SftSettings if method == "sft" else DpoSettings
    settings = _settings(settings_type, marked)
    rows = read_preferences(data)
    check_trainable(model)
    with RunFolder(out).locked():
        if isinstance(settings, DpoSettings):
            return train_dpo(model, rows, settings, out)
        chosen = [Demonstration(row.id, row.prompt, row.chosen, row.clauses, row.source) for row in rows]
        return train_sft(model, chosen, settings, out)


def _settings(kind: type[SftSettings | DpoSettings], marked: Marked | None) -> SftSettings | DpoSettings:
    value: Any = (marked.value if marked else None) or {}
    if marked and not isinstance(value, dict):
        raise UserError(f"{marked.path}: settings are a mapping of keys to values, such as `epochs: 2`.")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        assert marked is not None
        raise UserError(explain(error, marked, kind)) from None
