"""What a text says once disguises are taken off: invisible characters, look-alike letters, and encodings.

Each finding keeps where it lies in the original text, in code points, so that layers can point at it.
"""

# ruff: noqa: E501  (word lists)

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

MAX_DECODED: Final = 8
"""Most decoded pieces of one text; the longest count."""
MAX_DEPTH: Final = 2
"""Encodings inside encodings that are followed."""

_TAGS: Final = range(0xE0020, 0xE007F)
_ZERO_WIDTH: Final = frozenset(
    "\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\u00ad\u180e\u034f\u115f\u1160\u3164"
)
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
_LOOKALIKE: Final = str.maketrans(
    "аеорсухіјѕԁһԛԝкмтвнАВЕКМНОРСТХІЈЅУαορυνικτΑΒΕΖΗΙΚΜΝΟΡΤΥΧɑɡıⅼ",
    "aeopcyxijsdhqwkmtbhABEKMHOPCTXIJSYaopuviktABEZHIKMNOPTYXagil",
)
_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}(?![A-Za-z0-9+/_-])")
_HEX: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:0x)?(?:[0-9a-fA-F]{2}[ :,]?){8,}(?![0-9A-Za-z])|(?:\\x[0-9a-fA-F]{2}){6,}"
)
_PERCENT: Final = re.compile(r"(?:%[0-9a-fA-F]{2}|[\w.~+-]){6,}")
_ENTITIES: Final = re.compile(r"(?:&(?:#\d{2,6}|#x[0-9a-fA-F]{2,5}|[a-zA-Z]{2,8});[^&\n]{0,3}){4,}")
_ESCAPES: Final = re.compile(r"(?:\\u[0-9a-fA-F]{4}){4,}")
_BINARY: Final = re.compile(r"(?:[01]{8}[ ,]?){6,}")
_SPACED: Final = re.compile(r"(?<!\S)(?:\w[ .\-_*]){5,}\w(?!\S)")
_COMMON: Final = frozenset(
    ["the", "a", "an", "and", "or", "of", "to", "in", "is", "are", "was", "be", "you", "your", "i", "my", "me", "it", "that", "this", "for", "on", "with", "as", "at", "by", "from", "not", "do", "how", "what", "all", "write", "tell", "give", "make", "say", "ignore", "instructions", "previous", "system", "prompt", "can", "will", "should", "have", "has", "about", "who", "which", "when"]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decoded:
    """A hidden text: how it was hidden, what it says, and where it stood (code points of the original)."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Plain:
    """A text with its disguises counted and taken off.

    text: without invisible characters, look-alike letters replaced in mixed words, compatibility forms folded.
    hidden: invisible characters that were removed; lookalikes: letters that were replaced; smuggled: what tag
    characters spelled out.
    """

    text: str
    hidden: int
    lookalikes: int
    smuggled: str
    decoded: tuple[Decoded, ...]


def plain(text: str) -> Plain:
    """Take the disguises off a text, following encodings inside encodings to depth two."""
    smuggled = "".join(chr(ord(c) - 0xE0000) for c in text if ord(c) in _TAGS)
    visible = "".join(c for c in text if not _invisible(c))
    folded, lookalikes = _letters(unicodedata.normalize("NFKC", visible))
    hidden = sum(_hiding(text, i) for i, c in enumerate(text) if _invisible(c)) if len(visible) < len(text) else 0
    decoded = list(_decoded(text, MAX_DEPTH))
    if smuggled.strip():
        first = next(i for i, c in enumerate(text) if ord(c) in _TAGS)
        last = max(i for i, c in enumerate(text) if ord(c) in _TAGS)
        decoded.append(Decoded("tag characters", smuggled, first, last + 1))
    decoded.sort(key=lambda d: -len(d.text))
    return Plain(folded, hidden, lookalikes, smuggled, tuple(decoded[:MAX_DECODED]))


def _invisible(c: str) -> bool:
    return c in _ZERO_WIDTH or c in _BIDI or 0xE0000 <= ord(c) <= 0xE007F


def _hiding(text: str, i: int) -> bool:
    """Whether an invisible character stands inside a word of plain letters, where no script or emoji needs it."""
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    return (before.isascii() and before.isalnum()) or (after.isascii() and after.isalnum()) or ord(text[i]) >= 0xE0000


def _letters(text: str) -> tuple[str, int]:
    """Look-alike letters replaced in words that mix them with ASCII letters; a word wholly in its script stays."""
    if text.isascii():
        return text, 0
    replaced = 0

    def fix(word: re.Match[str]) -> str:
        nonlocal replaced
        found = word.group()
        if found.isascii() or not any(c.isascii() and c.isalpha() for c in found):
            return found
        fixed = found.translate(_LOOKALIKE)
        replaced += sum(a != b for a, b in zip(found, fixed, strict=True))
        return fixed

    return re.sub(r"\w+", fix, text), replaced


def readable(text: str) -> float:
    """How much a text reads like English prose or requests: the share of its words that are very common, in [0, 1]."""
    words = re.findall(r"[a-z']+", text.lower())
    return sum(word in _COMMON for word in words) / len(words) if words else 0.0


def _printable(data: bytes) -> str | None:
    """The bytes as text, when they are UTF-8 and nearly all letters, digits, spaces and usual punctuation."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    good = sum(c.isalnum() or c in " \n\t.,;:!?'\"()-_/@#&%$*+=<>[]{}|" for c in text)
    letters = sum(c.isalpha() for c in text)
    return text if len(text) >= 6 and good >= 0.95 * len(text) and letters >= 0.5 * len(text) else None


def _from_base64(found: str) -> str | None:
    bare = found.rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) % 4 == 1:
        return None
    try:
        return _printable(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


def _from_hex(found: str) -> str | None:
    digits = re.sub(r"\\x|0x|[^0-9a-fA-F]", "", found)
    return _printable(bytes.fromhex(digits)) if len(digits) % 2 == 0 else None


def _from_binary(found: str) -> str | None:
    bits = re.sub(r"[^01]", "", found)
    return _printable(bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8)))


def _from_percent(found: str) -> str | None:
    return unquote(found.replace("+", " ")) if found.count("%") >= 3 else None


def _from_escapes(found: str) -> str | None:
    return "".join(chr(int(code, 16)) for code in re.findall(r"\\u([0-9a-fA-F]{4})", found))


def _from_spaced(found: str) -> str | None:
    return re.sub(r"[ .\-_*]", "", found)


_READERS: Final = (
    ("base64", _BASE64, _from_base64), ("hex", _HEX, _from_hex), ("binary", _BINARY, _from_binary),
    ("url", _PERCENT, _from_percent), ("html entities", _ENTITIES, html.unescape), ("escapes", _ESCAPES, _from_escapes),
    ("spaced letters", _SPACED, _from_spaced),
)  # fmt: skip


def _decoded(text: str, depth: int) -> list[Decoded]:
    """What is encoded in the text; positions of what is found deeper are those of the outer piece."""
    out = []
    for kind, pattern, read in _READERS:
        for match in pattern.finditer(text):
            said = read(match.group())
            if said and said.strip() and said != match.group():
                out.append(Decoded(kind, said, *match.span()))
    if len(text) < 20_000:
        out += _whole(text)
    if depth > 1:
        inner = [
            Decoded(f"{d.kind}, {deep.kind}", deep.text, d.start, d.end)
            for d in out
            for deep in _decoded(d.text, depth - 1)
        ]
        out += inner
    return out


def _whole(text: str) -> list[Decoded]:
    """ROT13 and reversal, line by line: kept where the line then reads like English and did not before."""
    out = []
    for match in re.finditer(r"[^\n]{12,}", text):
        line = match.group()
        before = readable(line)
        if before > 0.1:
            parts = [m for m in re.finditer(r"[^:.\"'`\n]{16,}", line) if readable(m.group()) < 0.05]
        else:
            parts = [match]
            line = ""
        for part in parts:
            at = match.start() if line else 0
            start, end = part.start() + at, part.end() + at
            for kind, said in (("rot13", codecs.encode(part.group(), "rot13")), ("reversed", part.group()[::-1])):
                if len(re.findall(r"[a-z']+", said.lower())) >= 4 and readable(said) >= 0.25:
                    out.append(Decoded(kind, said, start, end))
    return out
