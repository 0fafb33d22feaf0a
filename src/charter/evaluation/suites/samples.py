"""The samples of the shipped suites: JSONL files in `data/`, loaded as frozen records and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from charter.errors import UserError, nearest
from charter.records import Conversation, conversation_of, read_jsonl

DATA: Final = Path(__file__).parent / "data"
SUITES: Final = ("harmful_requests", "benign_lookalikes", "instruction_following", "knowledge")


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a suite.

    `slice` is the named subset that it belongs to. `target` is the list of accepted answers (knowledge), else None.
    `check` is the constraint for `checks.check_instruction` (instruction_following), else None.
    `messages`, of a frozen attack, is what the model is asked; `prompt` is then what the attack wants, and what the
    judge reads.
    `seen` is True for a harmful request whose category also occurs in the shipped training pairs.
    """

    id: str
    suite: str
    prompt: str
    slice: str
    target: Any = None
    check: dict[str, Any] | None = None
    clauses: tuple[str, ...] = ()
    seen: bool = False
    messages: Conversation | None = None


def is_file(name: str) -> bool:
    """Whether a suite's name is a file of frozen attacks (`charter redteam freeze`) rather than a shipped suite."""
    return name.endswith(".jsonl")


def title_of(name: str) -> str:
    """The suite's name as logs and tables have it: a file's without its folder and ending."""
    return Path(name).stem if is_file(name) else name


def _file(name: str) -> Path:
    if is_file(name):
        return Path(name)
    if name not in SUITES:
        raise UserError(
            f'There is no suite "{name}".{nearest(name, list(SUITES))} Shipped suites: {", ".join(SUITES)}.'
        )
    return DATA / f"{name}.jsonl"


def _sample(name: str, row: Mapping[str, Any], where: str) -> Sample:
    try:
        messages = conversation_of(row, where) if row.get("messages") else None
        return Sample(**{**row, "suite": title_of(name), "clauses": tuple(row["clauses"]), "messages": messages})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{where}: not a sample ({error}). Needed: id, prompt, slice, clauses; allowed: target, check, seen and "
            "messages."
        ) from None


@cache
def _load(name: str) -> tuple[Sample, ...]:
    path = _file(name)
    return tuple(_sample(name, row, f"{path}, line {number}") for number, row in read_jsonl(path))


def load_suite(name: str) -> list[Sample]:
    """All samples of a suite, in file order. Raises UserError for an unknown name or a broken row."""
    return list(_load(name))


def suite_names() -> dict[str, list[str]]:
    """Each shipped suite with its slices, both in their order of appearance."""
    return {name: list(dict.fromkeys(sample.slice for sample in load_suite(name))) for name in SUITES}


@cache
def suite_digest(name: str) -> str:
    """sha256 (hex) of the suite's file: numbers measured under one digest do not stand under another."""
    # Line ends are normalised so that a checkout with CRLF gives the same digest.
    return hashlib.sha256(_file(name).read_bytes().replace(b"\r\n", b"\n")).hexdigest()
