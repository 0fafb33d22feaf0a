"""Small real layers for a stack: a forbidden word, a phone number, one that hangs, one that raises."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from charter.guard.stack import Layer, Place, Stack
from charter.guard.subject import Subject
from charter.guard.verdicts import Finding, Span

SECRET = "xyzzy plugh"
PHONE = re.compile(r"\d{3}-\d{4}")


@dataclass(frozen=True)
class Word:
    """Stops a text with SECRET in it."""

    name: str = "word"

    def check(self, subject: Subject) -> Finding:
        return Finding("block", 0.9, ("no-magic",)) if SECRET in subject.text else Finding("allow", 0.1)


@dataclass(frozen=True)
class Phone:
    """Takes phone numbers out."""

    name: str = "phone"

    def check(self, subject: Subject) -> Finding:
        spans = tuple(Span(m.start(), m.end(), "PHONE") for m in PHONE.finditer(subject.text))
        return Finding("redact", None, (), spans) if spans else Finding()


@dataclass(frozen=True)
class Hangs:
    """Takes its time when it reads "wait"."""

    seconds: float
    name: str = "hangs"

    def check(self, subject: Subject) -> Finding:
        if "wait" in subject.text:
            time.sleep(self.seconds)
        return Finding()


@dataclass(frozen=True)
class Raises:
    """Breaks when it reads "break"."""

    name: str = "raises"

    def check(self, subject: Subject) -> Finding:
        if "break" in subject.text:
            raise RuntimeError("out of order")
        return Finding()


def stack(*more: Layer, deadline: float = 5.0) -> Stack:
    """Words and phone numbers on both sides."""
    places = [Place(layer, deadline=deadline) for layer in (Word(), Phone(), *more)]
    return Stack(places, places)
