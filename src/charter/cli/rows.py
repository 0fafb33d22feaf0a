"""JSONL in and out for the commands that people script: `-` is a standard stream, errors name the line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.errors import UserError

Located = tuple[str, dict[str, Any]]
"""(where the row stands, the row)"""


def read_rows(source: str) -> list[Located]:
    """Every row with its place. Raises UserError for a missing file, bad JSON, a row without id, or no rows."""
    from charter.records import parse_jsonl, read_jsonl

    name = "standard input" if source == "-" else source
    found = parse_jsonl(sys.stdin.buffer, name) if source == "-" else read_jsonl(Path(source))
    rows = [(f"{name}, line {number}", row) for number, row in found]
    if not rows:
        raise UserError(f"{name}: there are no rows. Give one JSON object a line, with id and prompt or messages.")
    for where, row in rows:
        if "id" not in row:
            raise UserError(f'{where}: needs an "id", so that the answer can be matched to it.')
    return rows


def completion_of(row: Mapping[str, Any], where: str) -> str:
    """The row's completion. Raises UserError when there is none."""
    completion = row.get("completion")
    if not isinstance(completion, str):
        raise UserError(f'{where}: needs a "completion" (a string; it may be empty).')
    return completion


def check_writable(target: str) -> None:
    """Find out before the work, not after it, that the output cannot be written."""
    if target == "-":
        return
    path = Path(target)
    if path.is_dir():
        raise UserError(f"{path} is a folder. Give --out a file name.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(parent, os.W_OK) or not parent.is_dir():
        raise UserError(f"{path}: {parent} cannot be written to. Choose another --out.")


def write_rows(target: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows whole or not at all; `-` is standard output."""
    from charter.records import write_jsonl

    if target == "-":
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    try:
        write_jsonl(Path(target), rows)
    except OSError as error:
        raise UserError(
            f"{target}: could not be written ({error.strerror}). Free some space or choose another --out."
        ) from None
