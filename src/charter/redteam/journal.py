"""Every answer as it comes, in a file beside the results: an interrupted run asks nothing twice.

An answer is filed under all that decides it (model, prompt, sampling, prefill), not under the attack that asked: the
same question of another attack, or of a later run with more attacks, is answered from the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from charter.errors import UserError
from charter.records import Completion
from charter.redteam.protocol import Query


class Journal:
    """Answers by key; open it with `with`. path None keeps them in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror}). Choose another --out.") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UserError(
                f"{self._path}: another charter process is writing these results. Wait for it, or choose another --out."
            ) from None
        self._file.seek(0)
        whole = 0
        for line in self._file:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break  # the line that a kill cut off, and nothing can follow it
            self._known[entry["key"]] = entry["value"]
            whole += len(line.encode())
        if whole < os.fstat(self._file.fileno()).st_size:
            self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Any:
        """What is filed under the key, or None."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """File a JSON value."""
        self._known[key] = value
        if self._file is not None:
            self._file.write(json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n")
            self._file.flush()

    def remember(self, key: str, make: Callable[[], Any]) -> Any:
        """What is filed under the key, made and filed first where it is not."""
        if key not in self._known:
            self.put(key, make())
        return self._known[key]


def key_of(model: str, query: Query) -> str:
    """The digest of all that decides an answer. model: what tells it from others, its weights' digest where known."""
    asked = [model, [asdict(message) for message in query.prompt], asdict(query.sampling), query.prefill]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def filed(completion: Completion, seconds: float, tokens: int) -> dict[str, Any]:
    """An answer as it is filed; its tokens are only counted."""
    return {
        "text": completion.text,
        "tokens": tokens,
        "finish": completion.finish,
        "seconds": seconds,
    }
