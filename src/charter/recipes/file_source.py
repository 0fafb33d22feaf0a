"""A recipe's data files: what each gives to the training stages, known before any of them starts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from charter.errors import UserError
from charter.feedback.formats import is_file, load
from charter.recipes.recipe import FileSource, Recipe
from charter.records import Demonstration, Preference, Rated
from charter.store.runfolder import file_digest
from charter.training.catalogue import CATALOGUE


@dataclass(frozen=True)
class FileRows:
    """What the file holds: pairs, completions to imitate, or rated ones, and never two of these; dropped by reason."""

    preferences: list[Preference]
    demonstrations: list[Demonstration]
    ratings: list[Rated]
    dropped: Counter[str]


def wants_pairs(recipe: Recipe) -> bool:
    """Whether any training stage reads preference pairs."""
    return any(CATALOGUE[stage.method].reads == "preferences" for stage in recipe.train)


def read_file(source: FileSource, pairs: bool) -> FileRows:
    """The rows of one source. Scored completions become pairs only where `pairs` are wanted: it takes two a prompt.

    Raises UserError for a file that cannot be read, and for a `holdout` where there are no pairs to hold out.
    """
    loaded = load(source.path, source.split)
    if loaded.format.kind == "preferences" or ("preferences" in loaded.gives and (pairs or source.holdout)):
        found, dropped = loaded.as_kind("preferences")
        return FileRows(found, [], [], dropped)
    if source.holdout:
        raise UserError(
            f'{source.path}: `holdout` keeps preference pairs for testing, and "{loaded.format.name}" holds none. '
            "Take `holdout` out."
        )
    if loaded.format.kind == "ratings":
        rated, dropped = loaded.as_kind("ratings")
        return FileRows([], [], rated, dropped)
    completions, dropped = loaded.as_kind("demonstrations")
    return FileRows([], completions, [], dropped)


def check_files(recipe: Recipe) -> None:
    """Raises UserError for a file that cannot be read, or when no source gives what a stage reads."""
    pairs = wants_pairs(recipe)
    have = {"preferences", "ratings"} if recipe.data.pairs is not None or recipe.data.contrast is not None else set()
    for source in recipe.data.files:
        # A hub dataset is looked at when its stage comes: asking twice would download it here.
        rows = read_file(source, pairs) if is_file(source.path) else None
        if rows is None or rows.preferences:
            have |= {"preferences", "ratings"}
        elif rows.ratings:
            have.add("ratings")
    for stage in recipe.train if recipe.data.files else ():
        reads = CATALOGUE[stage.method].reads
        if reads != "demonstrations" and reads not in have:
            needs, shapes = _NEEDS[reads]
            raise UserError(
                f"train: {stage.method} needs {needs}, and no file in data.files holds any ({shapes}). Add a source "
                "that does, or train by sft only."
            )


_NEEDS = {
    "preferences": ("preference pairs", "chosen and rejected, or several scored completions a prompt"),
    "ratings": ("rated completions or preference pairs", "prompt, completion and label, or chosen and rejected"),
}


def source_digest(path: str) -> str:
    """sha256 of a data file; of a folder, over the names and digests of what it holds."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return file_digest(place)
    inside = sorted(file for file in place.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(f"{file.name} {file_digest(file)}" for file in inside).encode()).hexdigest()
