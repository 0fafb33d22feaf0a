"""The samples of the shipped suites: JSONL files in `data/`, loaded as frozen records and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from charter.errors import UserError, nearest
from charter.evaluation.suites.catalogue import SPECS, is_file, title_of
from charter.records import Conversation, Message, conversation_of, read_jsonl

DATA: Final = Path(__file__).parent / "data"
SUITES: Final = tuple(SPECS)
EXTENDS: Final[Mapping[str, str]] = MappingProxyType({"harmful_requests_wide": "harmful_requests"})
"""Suites that hold another's samples before their own, as the slice `english`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a suite.

    `slice` is the named subset that it belongs to; `category` a second way to cut, by what is asked for.
    `target` is the list of accepted answers, or of the one right choice. `check` is what the suite's checker needs.
    `before` are the turns that come before the prompt. `choices` are the answers to choose from, `variants` the
    wordings of which all are asked (the user's opinion swapped, the applicant swapped); `prompt` is then the first.
    `messages`, of a frozen attack, is what the model is asked in their place; `prompt` is then what the attack wants,
    and what the judge reads.
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
    category: str = ""
    before: Conversation = ()
    choices: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    messages: Conversation | None = None

    @property
    def conversation(self) -> Conversation:
        """What the model is given: a frozen attack's messages; else the turns before, then the prompt."""
        return self.messages or (*self.before, Message("user", self.prompt))


def _file(name: str) -> Path:
    if is_file(name):
        return Path(name)
    if name not in SUITES:
        raise UserError(
            f'There is no suite "{name}".{nearest(name, list(SUITES))} Shipped suites: {", ".join(SUITES)}.'
        )
    return DATA / f"{name}.jsonl"


def _sample(name: str, row: Mapping[str, Any], where: str) -> Sample:
    lists = {key: tuple(row.get(key, ())) for key in ("clauses", "choices", "variants")}
    before = conversation_of({"messages": row["before"]}, where) if row.get("before") else ()
    messages = conversation_of(row, where) if row.get("messages") else None
    try:
        if not lists["clauses"] and not is_file(name):
            raise KeyError("clauses")
        return Sample(**{**row, **lists, "suite": title_of(name), "before": before, "messages": messages})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{where}: not a sample ({error}). Needed: id, prompt, slice, clauses; allowed: target, check, seen, "
            "category, before, choices, variants, messages."
        ) from None


@cache
def _load(name: str) -> tuple[Sample, ...]:
    path = _file(name)
    own = tuple(_sample(name, row, f"{path}, line {number}") for number, row in read_jsonl(path))
    if name not in EXTENDS:
        return own
    return *(replace(s, suite=name, slice="english", category=s.slice) for s in _load(EXTENDS[name])), *own


def load_suite(name: str) -> list[Sample]:
    """All samples of a suite, in file order. Raises UserError for an unknown name or a broken row."""
    return list(_load(name))


def suite_names() -> dict[str, list[str]]:
    """Each shipped suite with its slices, both in their order of appearance."""
    return {name: list(dict.fromkeys(sample.slice for sample in load_suite(name))) for name in SUITES}


@cache
def suite_digest(name: str) -> str:
    """sha256 (hex) of the suite's file (after the one it extends): numbers of one digest do not stand under another."""
    files = [_file(part) for part in (EXTENDS.get(name), name) if part]
    # Line ends are normalised so that a checkout with CRLF gives the same digest.
    return hashlib.sha256(b"".join(file.read_bytes().replace(b"\r\n", b"\n") for file in files)).hexdigest()
