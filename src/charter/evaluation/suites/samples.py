"""The samples of the shipped suites: JSONL files in `data/`, loaded as frozen records and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from charter.errors import UserError, nearest
from charter.records import read_jsonl

DATA: Final = Path(__file__).parent / "data"
SUITES: Final = ("harmful_requests", "benign_lookalikes", "instruction_following", "knowledge")


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a suite.

    `slice` is the named subset that it belongs to. `target` is the list of accepted answers (knowledge), else None.
    `check` is the constraint for `checks.check_instruction` (instruction_following), else None.
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


def _file(name: str) -> Path:
    if name not in SUITES:
        raise UserError(
            f'There is no suite "{name}".{nearest(name, list(SUITES))} Shipped suites: {", ".join(SUITES)}.'
        )
    return DATA / f"{name}.jsonl"


def _sample(name: str, row: Mapping[str, Any], where: str) -> Sample:
    try:
        return Sample(**{**row, "suite": name, "clauses": tuple(row["clauses"])})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{where}: not a sample ({error}). Needed: id, prompt, slice, clauses; allowed: target, check, seen."
        ) from None


@cache
def _load(name: str) -> tuple[Sample, ...]:
    path = _file(name)
    return tuple(_sample(name, row, f"{path}, line {number}") for number, row in read_jsonl(path))


def load_suite(name: str) -> list[Sample]:
    """All samples of a shipped suite, in file order. Raises UserError for an unknown name or a broken row."""
    return list(_load(name))


def suite_names() -> dict[str, list[str]]:
    """Each shipped suite with its slices, both in their order of appearance."""
    return {name: list(dict.fromkeys(sample.slice for sample in load_suite(name))) for name in SUITES}


@cache
def suite_digest(name: str) -> str:
    """sha256 (hex) of the suite's file: numbers measured under one digest do not stand under another."""
    # Line ends are normalised so that a checkout with CRLF gives the same digest.
    return hashlib.sha256(_file(name).read_bytes().replace(b"\r\n", b"\n")).hexdigest()
