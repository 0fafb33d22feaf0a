"""A recipe's data files: what each gives to the training stages, known before any of them starts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from charter.errors import UserError
from charter.feedback.formats import is_file, load, read_prompts
from charter.recipes.recipe import FileSource, Recipe
from charter.records import Demonstration, Preference, Prompt, Rated, Scored
from charter.store.runfolder import file_digest
from charter.training.catalogue import CATALOGUE


@dataclass(frozen=True)
class FileRows:
    """What the file holds: pairs, completions to imitate, rated ones, or prompts alone; dropped by reason.

    `scored` are its completions as they are, where it holds scored ones.
    """

    preferences: list[Preference]
    demonstrations: list[Demonstration]
    ratings: list[Rated]
    dropped: Counter[str]
    scored: list[Scored] = field(default_factory=list)
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
    scored = loaded.as_kind("scored")[0] if loaded.format.kind == "scored" else []
    if loaded.format.kind == "preferences" or ("preferences" in loaded.gives and (pairs or source.holdout)):
        found, dropped = loaded.as_kind("preferences")
        return FileRows(found, [], [], dropped, scored)
    if source.holdout:
        raise UserError(
            f'{source.path}: `holdout` keeps preference pairs for testing, and "{loaded.format.name}" holds none. '
            "Take `holdout` out."
        )
    if loaded.format.kind == "ratings":
        rated, dropped = loaded.as_kind("ratings")
        return FileRows([], [], rated, dropped)
    if prompts and not loaded.records:
        # Prompts alone, or conversations that end with the user's turn.
        asked, dropped = read_prompts(source.path, source.split)
        return FileRows([], [], [], dropped, prompts=asked)
    completions, dropped = loaded.as_kind("demonstrations")
    return FileRows([], completions, [], dropped, scored)


def check_files(recipe: Recipe) -> None:
    """Raises UserError for a file that cannot be read, or when no source gives what a stage reads."""
    pairs, prompts = wants_pairs(recipe), wants_prompts(recipe)
    have = {"preferences", "ratings"} if recipe.data.pairs is not None or recipe.data.contrast is not None else set()
    if have or recipe.data.benign is not None:
        have.add("demonstrations")
    for source in recipe.data.files:
        # A hub dataset is looked at when its stage comes: asking twice would download it here.
        rows = read_file(source, pairs, prompts) if is_file(source.path) else None
        if rows is None or rows.preferences:
            have |= {"preferences", "ratings"}
        elif rows.ratings:
            have.add("ratings")
        if rows is None or rows.scored:
            have.add("scored")
        if rows is None or not rows.prompts:
            have.add("demonstrations")
    for stage in recipe.train:
        reads = CATALOGUE[stage.method].reads
        if not recipe.data.files and reads != "scored":
            continue  # the built-in sources give pairs and demonstrations, and never scores
        if reads != "prompts" and reads not in have:
            needs, shapes = _NEEDS[reads]
            raise UserError(
                f"train: {stage.method} needs {needs}, and no file in data.files holds any ({shapes}). Add a source "
                f"that does, or take {stage.method} out."
            )


_NEEDS = {
    "demonstrations": ("completions to imitate", "prompt and completion, messages that end with the assistant's turn"),
    "preferences": ("preference pairs", "chosen and rejected, or several scored completions a prompt"),
    "scored": ("scored completions", "prompt, completion and one or several scores"),
    "ratings": ("rated completions or preference pairs", "prompt, completion and label, or chosen and rejected"),
}


def source_digest(path: str) -> str:
    """sha256 of a data file; of a folder, over the names and digests of what it holds."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return file_digest(place)
    inside = sorted(file for file in place.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(f"{file.name} {file_digest(file)}" for file in inside).encode()).hexdigest()
