"""Completions kept by content: the same weights, asked the same, are not asked twice.

A file per model holds a JSON object a line, `{"key", "completions"}`; the file's name says which weights, tokenizer
files and arithmetic it belongs to, the key which prompt and sampling. Lines are appended under a lock and flushed: a
killed process loses at most the line that it was writing, which is skipped when the file is read. Delete the folder
to forget.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from charter import __version__
from charter.models.loading import best_dtype, named_digest, places
from charter.models.smollm2 import cache_folder
from charter.records import Completion, Conversation, Sampling

log = logging.getLogger(__name__)

_TOKENIZER_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "special_tokens_map.json", "adapter_config.json",
)  # fmt: skip


def completion_key(prompt: Conversation, sampling: Sampling) -> str:
    """sha256 of what is asked and how. Greedy decoding draws nothing, so its seed does not count."""
    how = replace(sampling, seed=0, top_p=1.0) if sampling.temperature == 0 else sampling
    text = json.dumps([[asdict(message) for message in prompt], asdict(how)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def completion_cache(name: str) -> CompletionCache | None:
    """The completions kept of the model of that name; None where its weights cannot be known by content.

    An endpoint may change behind its name, and so may a hub id. Raises UserError when the name is no model.
    """
    if ":" in name:
        return None
    folders = [folder for folder in places(name) if folder is not None]
    if any(isinstance(folder, str) for folder in folders):
        return None
    import torch

    parts = [named_digest(name), str(best_dtype()), str(torch.cuda.is_available()), __version__]
    for folder in folders:
        for file in _TOKENIZER_FILES:
            path = Path(folder) / file
            if path.is_file():
                parts.append(f"{file} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return CompletionCache(cache_folder() / "completions" / f"{digest[:32]}.jsonl")


class CompletionCache:
    """One model's completions. Safe for several threads and several processes."""

    def __init__(self, path: Path) -> None:
        """Reads what is there; makes nothing until something is kept."""
        self.path = path
        self._lock = threading.Lock()
        self._known: dict[str, list[Completion]] = {}
        if path.is_file():
            torn = 0
            for line in path.read_bytes().splitlines():
                try:
                    row = json.loads(line)
                    self._known[row["key"]] = [_completion(one) for one in row["completions"]]
                except (ValueError, KeyError, TypeError):
                    torn += 1
            if torn:
                log.info("%s: %d lines could not be read and are asked again", path, torn)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, prompt: Conversation, sampling: Sampling) -> list[Completion] | None:
        """What was said before, if anything was."""
        return self._known.get(completion_key(prompt, sampling))

    def put(self, prompt: Conversation, sampling: Sampling, completions: Sequence[Completion]) -> None:
        """Keep an answer; one that failed is not kept. A disk that takes no more is reported once, not fatal."""
        if not completions or any(one.finish == "error" for one in completions):
            return
        key = completion_key(prompt, sampling)
        line = json.dumps({"key": key, "completions": [asdict(one) for one in completions]}) + "\n"
        with self._lock:
            if key in self._known:
                return
            self._known[key] = list(completions)
            try:
                _append(self.path, line.encode())
            except OSError as error:
                log.warning("%s: a completion could not be kept (%s); it is asked again next time", self.path, error)


def _append(path: Path, line: bytes) -> None:
    """One line at the end of the file, after a line end that a killed writer may have left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()


def _completion(row: dict[str, object]) -> Completion:
    return Completion(**{**row, "tokens": tuple(row["tokens"]), "token_logprobs": tuple(row["token_logprobs"])})  # type: ignore[arg-type]
