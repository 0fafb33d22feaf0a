"""Credentials in a text: keys and tokens with a known form, and random-looking values beside a word that names them.

Own patterns rather than a scanner's: the known one that reads single texts (detect-secrets) has had no release since
2024, calls every word a high-entropy string when it reads prose, and gives values without their places.
"""

# ruff: noqa: E501  (patterns)

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

from charter.guard.layers.pii import redaction
from charter.guard.subject import Subject
from charter.guard.verdicts import Finding, Span

FORMS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("PRIVATE_KEY", re.compile(
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]{0,8000}?(?:-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|$)")),
    ("AWS_ACCESS_KEY", re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])")),
    ("GITHUB_TOKEN", re.compile(r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})(?!\w)")),
    ("GITLAB_TOKEN", re.compile(r"(?<!\w)gl(?:pat|dt|ptt|rt)-[\w-]{20,64}(?![\w-])")),
    ("SLACK_TOKEN", re.compile(r"(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{10,250}|https://hooks\.slack\.com/services/[\w/]{30,80}")),
    ("OPENAI_KEY", re.compile(r"(?<!\w)sk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_-]{20,200}(?![\w-])")),
    ("ANTHROPIC_KEY", re.compile(r"(?<!\w)sk-ant-[A-Za-z0-9_-]{20,200}(?![\w-])")),
    ("HUGGINGFACE_TOKEN", re.compile(r"(?<!\w)hf_[A-Za-z]{30,40}(?!\w)")),
    ("GOOGLE_API_KEY", re.compile(r"(?<!\w)AIza[\w-]{35}(?![\w-])")),
    ("STRIPE_KEY", re.compile(r"(?<!\w)(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,128}(?!\w)")),
    ("TWILIO_KEY", re.compile(r"(?<!\w)(?:AC|SK)[0-9a-f]{32}(?!\w)")),
    ("SENDGRID_KEY", re.compile(r"(?<!\w)SG\.[\w-]{16,32}\.[\w-]{16,64}(?![\w-])")),
    ("NPM_TOKEN", re.compile(r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)")),
    ("PYPI_TOKEN", re.compile(r"(?<!\w)pypi-[A-Za-z0-9_-]{50,300}")),
    ("TELEGRAM_TOKEN", re.compile(r"(?<!\w)\d{8,10}:AA[\w-]{33}(?![\w-])")),
    ("JWT", re.compile(r"(?<!\w)eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}(?![\w-])")),
    ("AZURE_STORAGE_KEY", re.compile(r"(?<=AccountKey=)[A-Za-z0-9+/]{86}==")),
)  # fmt: skip
_URL_LOGIN: Final = re.compile(r"(?<=://)[^\s:/@]{1,64}:([^\s:/@]{3,128})@(?=[\w.-]+)")
_NAMED: Final = re.compile(
    r"""(?<![a-z])(?:api[_ -]?key|secret(?:[_ -]?(?:access)?[_ -]?key)?|access[_ -]?(?:key|token)|auth[_ -]?token|"""
    r"""token|password|passwd|passphrase|pwd|client[_ -]?secret|bearer|credentials?)["']?"""
    r"""\s{0,3}(?:is|[:=]|=>|was)?\s{0,3}["'`]?([^\s"'`,;<>]{6,200})""",
    re.I,
)
_PLACEHOLDER: Final = re.compile(
    r"^(?:x+|\*+|\.+|<.*|\$.*|\{.*|your.*|my.*|example.*|changeme|password\d*|passwords?|secret|token|none|null|true|false|.*_here)$",
    re.I,
)


def entropy(text: str) -> float:
    """Shannon entropy of the characters, bits each."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def random_looking(value: str) -> bool:
    """Whether a value named a secret looks like one: mixed characters, no word, enough entropy for its length."""
    if _PLACEHOLDER.match(value) or len(value) < 8:
        return False
    classes = sum(bool(re.search(p, value)) for p in (r"[a-z]", r"[A-Z]", r"\d", r"[^\w\s]"))
    if value.isalpha() or (classes < 2):
        return False
    # 8 different characters carry 3 bits each; hex digests about 3.7; words with a digit at the end stay below.
    return entropy(value) >= (2.75 if classes >= 3 else 3.2)


def secrets_in(text: str) -> list[Span]:
    """Every credential in the text, in order; of overlapping ones the first form's."""
    found: list[Span] = []

    def add(start: int, end: int, kind: str) -> None:
        if not any(start < span.end and span.start < end for span in found):
            found.append(Span(start, end, kind))

    for kind, pattern in FORMS:
        for match in pattern.finditer(text):
            if kind != "OPENAI_KEY" or not match.group().startswith("sk-ant-"):
                add(*match.span(), kind)
    for match in _URL_LOGIN.finditer(text):
        if not _PLACEHOLDER.match(match.group(1)):
            add(*match.span(1), "PASSWORD_IN_URL")
    for match in _NAMED.finditer(text):
        value = match.group(1).rstrip(".)!?]")
        if random_looking(value):
            add(match.start(1), match.start(1) + len(value), "SECRET")
    return sorted(found, key=lambda span: span.start)


class SecretsLayer:
    """Credentials: redacted. The score is the share of the text that is a credential, never a stop."""

    name = "secrets"

    def __init__(self, clauses: tuple[str, ...] = ("secrets",)) -> None:
        self._clauses = clauses

    def check(self, subject: Subject) -> Finding:
        return redaction(secrets_in(subject.text), subject.text, self._clauses)
