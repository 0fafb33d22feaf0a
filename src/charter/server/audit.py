"""The record of what was decided: append-only files in which every line names the hash of the line before.

A line holds verdicts and salted hashes, never a text. Texts, when they are kept at all, lie in files of their own, so
that one person's can be deleted while the chain stays whole: the hash of what was there remains.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from charter.errors import UserError
from charter.records import write_text

_FIRST: Final = "0" * 64
_TEXTS: Final = "texts"


class Audit:
    """One writer's chain in `folder`. Each process has a file of its own; any thread may write.

    keep_texts: also keep the texts, each in a file that can be deleted.
    """

    def __init__(self, folder: Path, *, keep_texts: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._keep = folder, keep_texts
        self._path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{uuid.uuid4().hex[:6]}.jsonl"
        self._file = self._path.open("a", encoding="utf-8")
        self._last, self._count = _FIRST, 0
        self._lock = threading.Lock()

    def write(self, identity: str, kind: str, entry: Mapping[str, Any], text: str | None = None) -> None:
        """Append an entry. Raises OSError when it cannot be written: the caller must then not go on."""
        salt = secrets.token_hex(16)
        row: dict[str, Any] = {"id": identity, "time": datetime.now(UTC).isoformat(), "kind": kind, **entry}
        if text is not None:
            row["text_sha256"] = _salted(salt, text)
            if self._keep:
                (self.folder / _TEXTS).mkdir(exist_ok=True)
                kept = {"id": identity, "kind": kind, "salt": salt, "text": text}
                write_text(self.folder / _TEXTS / f"{identity}-{kind}.json", json.dumps(kept))
        with self._lock:
            row |= {"seq": self._count, "before": self._last}
            line = json.dumps(row, sort_keys=True)
            self._file.write(line + "\n")
            self._file.flush()
            self._last, self._count = hashlib.sha256(line.encode()).hexdigest(), self._count + 1

    def close(self) -> None:
        """End the chain with its length, and see it on the disk."""
        self.write("end", "end", {"lines": self._count})
        os.fsync(self._file.fileno())
        self._file.close()


@dataclass(frozen=True)
class Checked:
    """What `verify` found: lines that fit, chains, and what is wrong, in words."""

    lines: int
    chains: int
    open: int
    wrong: tuple[str, ...]


def verify(folder: Path) -> Checked:
    """Follow every chain, and compare the texts that are still there. Raises UserError when there is no chain."""
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        raise UserError(f"{folder}: holds no audit record (*.jsonl). Give the folder of `charter guard serve --audit`.")
    lines, unfinished, wrong = 0, 0, []
    hashes: dict[tuple[str, str], str] = {}
    for file in files:
        last, rows = _FIRST, 0
        ended = False
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                fits = row["before"] == last and row["seq"] == rows
            except (ValueError, KeyError, TypeError):
                fits, row = False, {}
            if not fits:
                wrong.append(f"{file.name}, line {number}: does not follow the line before it")
                break
            if "text_sha256" in row:
                hashes[row["id"], row["kind"]] = row["text_sha256"]
            last, rows, ended = hashlib.sha256(line.encode()).hexdigest(), rows + 1, row.get("kind") == "end"
        lines, unfinished = lines + rows, unfinished + (not ended)
    wrong += [f"{_TEXTS}/{name}: is not the text that was recorded" for name in _changed(folder / _TEXTS, hashes)]
    return Checked(lines, len(files), unfinished, tuple(wrong))


def entries(folder: Path, identity: str) -> list[dict[str, Any]]:
    """All that is recorded of a response, in time's order."""
    found = []
    for file in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        for line in file.read_text(encoding="utf-8").splitlines():
            # Most lines are others': the id is looked for before the line is read.
            if identity in line and (row := json.loads(line)).get("id") == identity:
                found.append(row)
    return sorted(found, key=lambda row: str(row["time"]))


def forget(folder: Path, identity: str) -> int:
    """Delete the texts of a response; how many there were. The chain keeps their hashes."""
    files = list((folder / _TEXTS).glob(f"{identity}-*.json"))
    for file in files:
        file.unlink()
    return len(files)


def _changed(texts: Path, hashes: Mapping[tuple[str, str], str]) -> list[str]:
    wrong = []
    for file in sorted(texts.glob("*.json")) if texts.is_dir() else []:
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            same = hashes.get((kept["id"], kept["kind"])) == _salted(kept["salt"], kept["text"])
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            wrong.append(file.name)
    return wrong


def _salted(salt: str, text: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + text.encode("utf-8", "surrogatepass")).hexdigest()
