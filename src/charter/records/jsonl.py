"""Records and files: JSON lines in and out, text written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.errors import UserError


def as_row(record: Any) -> dict[str, Any]:
    """A record (frozen dataclass) as a JSON-ready dictionary; tuples become lists."""
    return json.loads(json.dumps(asdict(record)))  # type: ignore[no-any-return]


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of each non-empty line. Raises UserError naming file and line."""
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Check the path; relative paths start at the current folder.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    with lines:
        yield from parse_jsonl(lines, str(path))


def parse_jsonl(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of each non-empty line. Raises UserError naming `name` and the line."""
    for number, line in enumerate(lines, 1):
        where = f"{name}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 text (byte {error.start} of the line). Save it as UTF-8.") from None
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{where}: not valid JSON ({error.msg} at column {error.colno}). Each line must hold one JSON object."
            ) from None
        except RecursionError:
            raise UserError(f"{where}: nested too deeply. Each line must hold one flat JSON object.") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: a JSON object is needed, got {type(row).__name__}.")
        yield number, row


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all: to a temporary name, flushed, then renamed. Creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows one JSON object a line, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
