"""Encodings of a request, each with its inverse: what cannot be decoded again is not asked.

`normal` is the text as far as a cipher carries it (Morse has no case); an encoding is sound when decoding gives that.
"""

from __future__ import annotations

import base64
import codecs
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from charter.redteam.protocol import NotPossible
from charter.redteam.rewriting import glyphs


@dataclass(frozen=True, slots=True)
class Cipher:
    """Text to code and back."""

    name: str
    encode: Callable[[str], str]
    decode: Callable[[str], str]
    normal: Callable[[str], str]

    def checked(self, text: str) -> str:
        """The code of a text. Raises NotPossible when decoding does not give the text back."""
        try:
            code = self.encode(text)
            back = self.decode(code)
        except (KeyError, ValueError, UnicodeError) as error:
            raise NotPossible(f"{self.name}: the request cannot be encoded ({error})") from None
        if not code.strip() or back != self.normal(text):
            raise NotPossible(f"{self.name}: the encoded request does not decode to the request")
        return code


_LEET: Final = str.maketrans("aeiostAEIOST", "431057431057")
_UNLEET: Final = str.maketrans("431057", "aeiost")

_MORSE_CODES: Final = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -.-.-- -..-. -.--. "
    "-.--.- .-... ---... -.-.-. -...- .-.-. -....- ..--.- .-..-. ...-..- .--.-."
)
_MORSE_LETTERS: Final = string.ascii_uppercase + string.digits + ".,?'!/()&:;=+-_\"$@"
_MORSE: Final[Mapping[str, str]] = dict(zip(_MORSE_LETTERS, _MORSE_CODES.split(), strict=True))
_UNMORSE: Final = {code: letter for letter, code in _MORSE.items()}

_ZERO_WIDTH: Final = "\u200b"
# Cyrillic letters that look like Latin ones.
_LOOKALIKES: Final = str.maketrans("aceopxyijsABCEHIKMOPTXS", "асеорхуіјѕАВСЕНІКМОРТХЅ")
_LATIN: Final = {code: letter for letter, code in _LOOKALIKES.items()}


def _words(text: str) -> str:
    return " ".join(text.upper().replace("\u2019", "'").split())


def _morse(text: str) -> str:
    return " / ".join(" ".join(_MORSE[letter] for letter in word) for word in _words(text).split(" "))


def _unmorse(code: str) -> str:
    return " ".join("".join(_UNMORSE[letter] for letter in word.split()) for word in code.split(" / "))


def _ascii_art(text: str) -> str:
    """The longest word drawn in large letters, and the request with [MASK] in its place."""
    word = longest_word(text)
    return f"{text.replace(word, '[MASK]', 1)}\n\n{glyphs.draw(word)}"


def _read_ascii_art(code: str) -> str:
    text, _, art = code.rpartition("\n\n")
    return text.replace("[MASK]", glyphs.read(art), 1)


def longest_word(text: str) -> str:
    """The longest run of Latin letters, the first of equals. Raises ValueError where there is none."""
    words: list[str] = re.findall(r"[A-Za-z]{2,}", text)
    if not words:
        raise ValueError("there is no word of Latin letters in it")
    return max(words, key=len)


def _drawn(text: str) -> str:
    word = longest_word(text)
    return text.replace(word, word.upper(), 1)


CIPHERS: Final[Mapping[str, Cipher]] = {
    cipher.name: cipher
    for cipher in (
        Cipher(
            "base64",
            lambda text: base64.b64encode(text.encode()).decode(),
            lambda code: base64.b64decode(code, validate=True).decode(),
            str,
        ),
        Cipher(
            "rot13", lambda text: str(codecs.encode(text, "rot13")), lambda code: str(codecs.decode(code, "rot13")), str
        ),
        Cipher(
            "leetspeak",
            lambda text: text.translate(_LEET),
            lambda code: code.translate(_UNLEET).lower(),
            # Digits of the text itself read as letters, as a person would read them.
            lambda text: text.translate(_UNLEET).lower(),
        ),
        Cipher("morse", _morse, _unmorse, _words),
        Cipher(
            "zero-width",
            lambda text: _ZERO_WIDTH.join(text),
            lambda code: code.replace(_ZERO_WIDTH, ""),
            lambda text: text.replace(_ZERO_WIDTH, ""),
        ),
        Cipher(
            "homoglyph",
            lambda text: text.translate(_LOOKALIKES),
            lambda code: code.translate(_LATIN),
            lambda text: text.translate(_LATIN),
        ),
        Cipher("ascii-art", _ascii_art, _read_ascii_art, _drawn),
    )
}
