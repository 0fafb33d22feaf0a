"""A recipe's data files: what each gives to the training stages, known before any of them starts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from charter.errors import UserError
from charter.feedback.formats import is_file, load, read_prompts, score_pairs
from charter.recipes.recipe import DataSettings, FileSource, Recipe
from charter.records import Demonstration, Preference, Prompt, Rated, Scored, Stepwise
from charter.store.runfolder import file_digest
from charter.training.catalogue import CATALOGUE, Reads


@dataclass(frozen=True)
class FileRows:
    """What the file holds, one of: pairs, completions to imitate, rated ones, labelled steps, prompts alone.

    `scored` are its completions as they are, where it holds scored ones. holds: the same in words.  dropped: by reason.
    """

    holds: str
    dropped: Counter[str]
    preferences: list[Preference] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    ratings: list[Rated] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)
    stepwise: list[Stepwise] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)


def wants_pairs(recipe: Recipe) -> bool:
    """Whether any training stage reads preference pairs."""
    return any(CATALOGUE[stage.method].reads == "preferences" for stage in recipe.train)


def wants_prompts(recipe: Recipe) -> bool:
    """Whether any training stage samples its own completions."""
    return any(CATALOGUE[stage.method].reads == "prompts" for stage in recipe.train)


def read_file(source: FileSource, pairs: bool, prompts: bool = False) -> FileRows:
    """The rows of one source. Scored completions become pairs only where `pairs` are wanted: it takes two a prompt.

    A file without any completions can be used only where `prompts` are wanted.

    Raises UserError for a file that cannot be read, and for a `holdout` where there are no pairs to hold out.
    """
    loaded = load(source.path, source.split)
    kind, holds = loaded.format.kind, f'{loaded.rows} rows of the format "{loaded.format.name}"'
    scored = loaded.as_kind("scored")[0] if kind == "scored" else []
    if scored and not score_pairs(scored)[0]:
        holds += ", in which no prompt has two completions with different scores"
    elif kind == "preferences" or ("preferences" in loaded.gives and (pairs or source.holdout)):
        found, dropped = loaded.as_kind("preferences")
        return FileRows(holds, dropped, preferences=found, scored=scored)
    if source.holdout:
        raise UserError(
            f"{source.path}: `holdout` keeps preference pairs for testing, and there are none in {holds}. Take "
            "`holdout` out."
        )
    if kind == "ratings":
        rated, dropped = loaded.as_kind("ratings")
        return FileRows(holds, dropped, ratings=rated)
    if kind == "stepwise":
        stepwise, dropped = loaded.as_kind("stepwise")
        return FileRows(holds, dropped, stepwise=stepwise)
    if prompts and not loaded.records:
        # Prompts alone, or conversations that end with the user's turn.
        asked, dropped = read_prompts(source.path, source.split)
        return FileRows(holds, dropped, prompts=asked)
    completions, dropped = loaded.as_kind("demonstrations")
    return FileRows(holds, dropped, demonstrations=completions, scored=scored)


def check_files(recipe: Recipe) -> None:
    """Raises UserError for a file that cannot be read, or when no source gives what a stage reads."""
    pairs, prompts = wants_pairs(recipe), wants_prompts(recipe)
    have: set[Reads] = {"prompts"}  # every row of every source has one
    have |= _built_in(recipe.data)
    holds = []
    for source in recipe.data.files:
        # A hub dataset is looked at when its stage comes: asking twice would download it here.
        rows = read_file(source, pairs, prompts) if is_file(source.path) else None
        have |= _gives(rows) if rows is not None else set(_NEEDS)
        holds += [f"{source.path} holds {rows.holds}"] if rows is not None else []
    for stage in recipe.train:
        reads = CATALOGUE[stage.method].reads
        if reads not in have:
            needs, shapes = _NEEDS[reads]
            if not recipe.data.files:
                raise UserError(
                    f"train: {stage.method} needs {needs}, and no source in data gives any. Add a source that does "
                    f"(docs/feedback.md), or data.files of the shape {shapes}; or take {stage.method} out."
                )
            found = f": {'; '.join(holds)}" if holds else ""
            raise UserError(
                f"train: {stage.method} needs {needs}, and no file in data.files gives any{found}. Add a file of the "
                f"shape {shapes}; or take {stage.method} out."
            )


def _built_in(data: DataSettings) -> set[Reads]:
    """What the sources other than files give."""
    have: set[Reads] = set()
    tied = [data.distillation, data.revision]
    if data.pairs or data.benign or any(tied):
        have.add("demonstrations")
    if data.pairs or data.contrast or data.labels or any(source.pairs for source in tied if source):
        have |= {"preferences", "ratings"}
    return have


def _gives(rows: FileRows) -> set[Reads]:
    found: set[Reads] = set()
    if rows.preferences:
        found |= {"preferences", "ratings", "demonstrations"}
    if rows.ratings:
        found.add("ratings")
    if rows.demonstrations or any(row.desirable for row in rows.ratings):
        found.add("demonstrations")
    if rows.scored:
        found.add("scored")
    if rows.stepwise:
        found.add("stepwise")
    return found


_NEEDS: Final[Mapping[Reads, tuple[str, str]]] = {
    "demonstrations": ("completions to imitate", "prompt and completion, or messages that end with an answer"),
    "preferences": ("preference pairs", "prompt, chosen and rejected, or of several scored completions a prompt"),
    "scored": ("scored completions", "prompt, completion and one or several scores"),
    "stepwise": ("completions in labelled steps", "prompt, completions and labels"),
    "ratings": ("rated completions or preference pairs", "prompt, completion and label, or chosen and rejected"),
}


def source_digest(path: str) -> str:
    """sha256 of a data file; of a folder, over the names and digests of what it holds."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return file_digest(place)
    inside = sorted(file for file in place.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(f"{file.name} {file_digest(file)}" for file in inside).encode()).hexdigest()
