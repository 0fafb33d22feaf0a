"""Embeddings of the texts' windows, kept in a file, since they are what takes the time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from charter.guard.encoder import Encoder, Window

EVERY = 1500
MOST = 4
"""Windows of one training text: the first two, the middle one and the last. Measuring takes the same."""


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def chosen_windows(windows: list[Window]) -> list[Window]:
    return windows if len(windows) <= MOST else [*windows[:2], windows[len(windows) // 2], windows[-1]]


class Kept:
    """Embeddings by text, (W, 384) in half precision, in one file that grows."""

    def __init__(self, path: Path, encoder: Encoder) -> None:
        self._path, self._encoder = path, encoder
        self.found: dict[str, np.ndarray] = {}
        if path.exists():
            stored = np.load(path)
            parts = np.split(stored["e"], np.cumsum(stored["n"])[:-1])
            self.found = dict(zip(stored["keys"].tolist(), parts, strict=True))

    def add(self, texts: list[str]) -> None:
        """Embed what is not there yet; saved every EVERY texts."""
        todo = [text for text in dict.fromkeys(texts) if key(text) not in self.found]
        for number, text in enumerate(todo, 1):
            windows = chosen_windows(self._encoder.tokens.windows(text))
            self.found[key(text)] = self._encoder.embed_windows(windows).astype(np.float16)
            if number % EVERY == 0 or number == len(todo):
                self._save()
                print(f"embedded {number} of {len(todo)}", flush=True)

    def _save(self) -> None:
        temporary = self._path.with_suffix(".tmp.npz")
        sizes = np.array([len(e) for e in self.found.values()])
        np.savez(temporary, keys=np.array(list(self.found)), n=sizes, e=np.concatenate(list(self.found.values())))
        temporary.replace(self._path)

    def windows(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings (W, 384) in fp32, the number of the text that each window is of (W,))."""
        parts = [self.found[key(text)] for text in texts]
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return np.concatenate(parts).astype(np.float32), owner
