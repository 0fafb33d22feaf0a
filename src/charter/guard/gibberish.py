"""Suffixes that no one would write: windows of characters that are unlike prose, code and lists alike.

Optimised suffixes (Zou et al. 2023) are strings of word pieces glued together. A table of character pairs, counted once
over ordinary prompts, prose and code, tells how unusual each pair is; a window whose mean surprise is far beyond what
ordinary text reaches is evidence. No language model is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

TABLE: Final = Path(__file__).parent / "weights" / "pairs.safetensors"
WINDOW: Final = 48
STEP: Final = 12
_SYMBOLS: Final = 97
"""Printable ASCII and newline have a number each; every other letter shares one, every other character another."""


@dataclass(frozen=True, slots=True)
class Strange:
    """The strangest stretch of a text: where, its mean surprise in nats a character, and the evidence in logits."""

    start: int
    end: int
    surprise: float
    logits: float


def symbols(text: str) -> NDArray[np.int64]:
    """The text as numbers below 98, shape (len(text),)."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.int64)
    ascii_ = np.where((codes >= 32) & (codes < 127), codes - 32, 95)
    return np.where(codes >= 127, 96, ascii_)


def surprises(text: str, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Surprise of each character after its two predecessors' classes, in nats, shape (max(len(text) - 1, 0),)."""
    found = symbols(text)
    return table[found[:-1], found[1:]]


@cache
def _table() -> tuple[NDArray[np.float32], float, float]:
    from safetensors.numpy import load_file

    found = load_file(TABLE)
    return found["surprise"].astype(np.float32), float(found["limit"]), float(found["slope"])


def strangest(text: str, table: NDArray[np.float32]) -> tuple[float, int, int] | None:
    """(mean surprise, start, end) of the strangest window; None for texts shorter than a window."""
    if len(text) < WINDOW:
        return None
    sums = np.concatenate([[0.0], np.cumsum(surprises(text, table), dtype=np.float64)])
    starts = np.arange(0, len(text) - WINDOW + 1, STEP)
    if starts[-1] != len(text) - WINDOW:
        starts = np.append(starts, len(text) - WINDOW)
    means = (sums[starts + WINDOW - 1] - sums[starts]) / (WINDOW - 1)
    best = int(means.argmax())
    return float(means[best]), int(starts[best]), int(starts[best]) + WINDOW


def gibberish(text: str) -> Strange | None:
    """The strangest window of the text where it is beyond what ordinary text reaches; None otherwise."""
    table, limit, slope = _table()
    found = strangest(text, table)
    if found is None or found[0] <= limit:
        return None
    surprise, start, end = found
    return Strange(start, end, surprise, (surprise - limit) * slope)
