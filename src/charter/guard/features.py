"""Cheap features beside the embedding: hashed words and character n-grams, and the shape of a text."""

from __future__ import annotations

import re
import zlib
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

BUCKETS: Final = 1 << 15
_PRIME: Final = np.uint32(0x01000193)
_SPREAD: Final = np.uint32(0x9E3779B1)
_WORD: Final = re.compile(r"[^\W_]+(?:'[a-z]+)?")

SHAPE: Final = (
    "characters", "words", "capitals", "digits", "punctuation", "newlines", "question", "exclamation", "first_person",
    "second_person", "please", "quotes", "braces", "urls", "mentions", "long_words",
)  # fmt: skip
"""What `shape` counts, in its order."""


def ngrams(text: str) -> NDArray[np.int64]:
    """Buckets of the text's words, pairs of words and character n-grams of 3 to 5, each once, sorted.

    Case and repeated white space do not matter. Character n-grams are hashed as a polynomial over code points.
    """
    lowered = " ".join(text.lower().split())
    words = _WORD.findall(lowered)
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    hashed = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in (*words, *pairs)], dtype=np.uint32)
    parts = [hashed]
    codes = np.frombuffer(f" {lowered} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    with np.errstate(over="ignore"):
        for n in (3, 4, 5):
            if len(codes) < n:
                continue
            rolling = np.full(len(codes) - n + 1, n, dtype=np.uint32)
            for k in range(n):
                rolling = rolling * _PRIME + codes[k : len(codes) - n + 1 + k]
            parts.append(rolling)
        spread = np.concatenate(parts) * _SPREAD
    return np.unique((spread >> np.uint32(17)).astype(np.int64))


def shape(text: str) -> NDArray[np.float32]:
    """The counts of SHAPE, as logarithms or shares, shape (len(SHAPE),)."""
    words = _WORD.findall(text)
    lowered = [word.lower() for word in words]
    size, count = max(len(text), 1), max(len(words), 1)
    found = (
        np.log1p(len(text)) / 6,
        np.log1p(len(words)) / 5,
        sum(c.isupper() for c in text) / size,
        sum(c.isdigit() for c in text) / size,
        sum(not c.isalnum() and not c.isspace() for c in text) / size,
        np.log1p(text.count("\n")),
        float("?" in text),
        np.log1p(text.count("!")),
        sum(word in ("i", "me", "my", "mine", "i'm", "im") for word in lowered) / count,
        sum(word in ("you", "your", "yours", "you're", "u", "ur") for word in lowered) / count,
        float("please" in lowered),
        np.log1p(text.count('"') + text.count("“")),
        np.log1p(sum(text.count(c) for c in "{}[]<>|")),
        np.log1p(text.count("http") + text.count("www.")),
        np.log1p(text.count("@")),
        sum(len(word) > 9 for word in words) / count,
    )
    return np.array(found, dtype=np.float32)
