"""Names of people, places and addresses: a small linear tagger over hashed features of words and their neighbours.

Trained on text generated for this project (`experiments/guard/train_names.py`; its card is beside the weights), because
the usual language models for this cannot be fetched everywhere. Reported, not redacted, unless the operator asks.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from charter.guard.verdicts import Span

WEIGHTS: Final = Path(__file__).parent / "weights" / "names.safetensors"
BUCKETS: Final = 1 << 16
TAGS: Final = ("", "PERSON", "LOCATION", "STREET_ADDRESS")
_TOKEN: Final = re.compile(r"\w+(?:['’.-]\w+)*|[^\w\s]|\n")
_REACH: Final = 2
_BETWEEN: Final = {"PERSON": re.compile(r"[ .'-]{1,3}"), "LOCATION": re.compile(r"[ '-]{1,2}"),
                   "STREET_ADDRESS": re.compile(r"[ ,.#\n/'-]{1,4}")}  # fmt: skip
"""What may stand between two words of one name."""


def tokens(text: str) -> list[tuple[str, int, int]]:
    """Words, marks and line ends with their places."""
    return [(match.group(), *match.span()) for match in _TOKEN.finditer(text)]


def form(word: str) -> str:
    """The form of a word: Xx, XX, xx, 00, X0, or the mark itself."""
    if word.isdigit():
        return "0" * min(len(word), 5)
    if any(char.isdigit() for char in word):
        return "X0"
    if not word[0].isalpha():
        return word
    if word.isupper():
        return "X" if len(word) == 1 else "XX"
    return "Xx" if word[0].isupper() else "xx"


def features(words: Sequence[str]) -> NDArray[np.int64]:
    """Hashed features of every word, shape (words, F): itself, its ends and form, its neighbours and their forms."""
    edge = ["<>"] * _REACH
    lowered = [*edge, *(word.lower() for word in words), *edge]
    forms = ["<>", "<>", *(form(word) for word in words), "<>", "<>"]
    rows = []
    for i in range(_REACH, len(words) + _REACH):
        word, shape = lowered[i], forms[i]
        start = lowered[i - 1] in ("<>", ".", "!", "?", "\n", ":")
        names = [
            f"w {word}", f"s3 {word[-3:]} {shape}", f"s2 {word[-2:]} {shape}", f"p3 {word[:3]} {shape}",
            f"s4 {word[-4:]}",
            f"f {shape} {start}", f"-1 {lowered[i - 1]} {shape}", f"+1 {lowered[i + 1]} {shape}",
            f"-2 {lowered[i - 2]} {lowered[i - 1]} {shape}", f"+2 {lowered[i + 1]} {lowered[i + 2]} {shape}",
            f"ff {forms[i - 1]} {shape} {forms[i + 1]}", f"fff {forms[i - 2]} {forms[i - 1]} {shape} {forms[i + 1]}",
            f"-2 {lowered[i - 2]} {shape}", f"+2 {lowered[i + 2]} {shape}", f"n {forms[i + 1]} {forms[i + 2]} {shape}",
            f"l {min(len(word), 12)} {shape}",
        ]  # fmt: skip
        rows.append([zlib.crc32(name.encode("utf-8", "surrogatepass")) % BUCKETS for name in names])
    return np.array(rows, dtype=np.int64).reshape(len(words), -1)


@cache
def _table() -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    return load_file(WEIGHTS)["table"].astype(np.float32)


def tagged(words: Sequence[str], table_BT: NDArray[np.float32]) -> list[int]:
    """The likeliest tag of every word, as its place in TAGS."""
    if not words:
        return []
    return [int(tag) for tag in table_BT[features(words)].sum(1).argmax(1)]


def names(text: str) -> list[Span]:
    """Names of people, places and addresses in the text, in order."""
    found = tokens(text)
    spans: list[Span] = []
    for (_, start, end), tag in zip(found, tagged([word for word, _, _ in found], _table()), strict=True):
        kind = TAGS[tag]
        if not kind or not text[start].isalnum():
            continue
        last = spans[-1] if spans else None
        if last and last.kind == kind and _BETWEEN[kind].fullmatch(text[last.end : start]):
            spans[-1] = Span(last.start, end, kind)
        else:
            spans.append(Span(start, end, kind))
    return spans
