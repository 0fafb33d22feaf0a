"""A run's folder: one writer at a time, stages that are done once, everything readable with a text editor."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charter
from charter.errors import UserError
from charter.records import write_text

log = logging.getLogger(__name__)

_CONFIG, _DONE = "config.json", "done.json"


@dataclass(frozen=True)
class StageDone:
    """A finished stage: its folder, what it returned, its seconds, and whether an earlier process had finished it."""

    name: str
    folder: Path
    result: dict[str, Any]
    seconds: float
    reused: bool


class RunFolder:
    """`runs/<name>/` with `stages/NN-name/{config.json, done.json, …}`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: list[StageDone] = []

    @contextmanager
    def locked(self) -> Iterator[RunFolder]:
        """Hold the folder for this process. Raises UserError when it cannot be written or another run holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(
                f"{self.path}: the run folder cannot be written ({error.strerror}). Choose another with --out, or "
                "change its permissions."
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"{self.path}: another charter process is working in this run folder. Wait for it, or choose "
                    "another folder with --out."
                ) from None
            yield self

    def stage(self, name: str, config: dict[str, Any], work: Callable[[Path], dict[str, Any]]) -> StageDone:
        """Do a stage once. `config` holds all that decides its outcome, its inputs' digests included.

        The same config with a finished folder is not done again. A folder of another config is removed first; an
        unfinished one of the same config is handed to `work` as it is, to resume from.
        """
        number = len(self.stages) + 1
        folder = self.path / "stages" / f"{number:02}-{name}"
        config = {"stage": name, "version": charter.__version__, **config}
        text = json.dumps(config, indent=1, sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()
        done = self._finished(folder, key)
        if done is None:
            if folder.exists() and _key_of(folder) != key:
                log.info("stage %s: its configuration or inputs changed, so it is done anew", name)
                shutil.rmtree(folder)
            write_text(folder / _CONFIG, text)
            started = time.monotonic()
            log.info("stage %s begins", name)
            result = work(folder)
            seconds = round(time.monotonic() - started, 2)
            write_text(folder / _DONE, json.dumps({"key": key, "seconds": seconds, "result": result}, indent=1))
            log.info("stage %s done in %.1f s", name, seconds)
            done = StageDone(name, folder, result, seconds, reused=False)
        else:
            log.info("stage %s was done before", name)
        self.stages.append(done)
        return done

    def drop_later(self) -> None:
        """Remove stage folders that the recipe no longer has."""
        known = {done.folder.name for done in self.stages}
        for folder in (self.path / "stages").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder)

    def _finished(self, folder: Path, key: str) -> StageDone | None:
        try:
            done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return None
        if done.get("key") != key:
            return None
        return StageDone(folder.name[3:], folder, done["result"], done["seconds"], reused=True)


def _key_of(folder: Path) -> str | None:
    try:
        return hashlib.sha256((folder / _CONFIG).read_bytes()).hexdigest()
    except OSError:
        return None


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
