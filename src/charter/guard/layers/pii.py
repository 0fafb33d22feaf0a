"""Personal data by form: e-mail, phone, card, account, national numbers, addresses. Redacted, not stopped.

Numbers with check digits are taken only when the digits agree, and numbers that many other things look like only beside
a word that names them. The kinds carry the names that presidio gave them. presidio-analyzer itself is not used:
importing it brings spaCy, torch and transformers, and its e-mail check fetches a list of domains from the network.
"""

# ruff: noqa: E501  (patterns)

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from charter.guard import checksums
from charter.guard.names import names
from charter.guard.subject import Subject
from charter.guard.verdicts import Finding, Span

NEAR: Final = 60
"""Code points before a number in which a word may name it."""
REGIONS: Final = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "AU", "BR", "IL")
"""Where a phone number without a country code may be from."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of personal data: its form, a check of what was found (group 1, or all), and words that must stand
    near (empty: none needed)."""

    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool] = lambda _: True
    near: re.Pattern[str] | None = None


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _bare(text: str) -> str:
    return re.sub(r"[\s.-]", "", text).upper()


def _card(text: str) -> bool:
    digits = _digits(text)
    # Issuers: 3 to 6, Mastercard's second range, and JCB's numbers of 15 digits.
    issued = digits[0] in "3456" or 2221 <= int(digits[:4]) <= 2720 or digits[:4] in ("1800", "2131")
    return 12 <= len(digits) <= 19 and issued and checksums.luhn(digits)


def _ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(r"(?<![a-z])(?:" + "|".join(words) + r")(?![a-z])", re.I)


_STREET: Final = (
    r"street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|square|terrace|way|close|crescent|"
    r"highway|hwy|parkway|pkwy|circle|trail|alley"
)

RULES: Final = (
    Rule("EMAIL_ADDRESS", re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![\w-])")),
    Rule(
        "CREDIT_CARD",
        re.compile(r"(?<![\d.,#-])(?:\d{12,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}|\d{4}[ -]\d{6}[ -]\d{5})(?![\d-])"),
        _card,
    ),
    Rule(
        "IBAN_CODE",
        re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Z0-9])", re.I),
        lambda text: checksums.iban(_bare(text)),
    ),
    Rule("US_SSN", re.compile(r"(?<![\d-])\d{3}([- .])\d{2}\1\d{4}(?![\d-])"), lambda t: checksums.ssn(_digits(t))),
    Rule("US_SSN", re.compile(r"(?<!\d)\d{9}(?!\d)"), checksums.ssn, _words("ssn", "social security")),
    Rule("US_ITIN", re.compile(r"(?<!\d)9\d{2}[- ][5-9]\d[- ]\d{4}(?!\d)")),
    Rule("IP_ADDRESS", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"), _ip),
    Rule("IP_ADDRESS", re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])", re.I), _ip),
    Rule("CRYPTO", re.compile(r"(?<!\w)[13][1-9A-HJ-NP-Za-km-z]{25,34}(?!\w)"), checksums.bitcoin),
    Rule("CRYPTO", re.compile(r"(?<!\w)(?:bc1[02-9ac-hj-np-z]{25,62}|0x[0-9a-fA-F]{40})(?!\w)")),
    Rule("UK_NHS", re.compile(r"(?<!\d)\d{3}[ -]?\d{3}[ -]?\d{4}(?!\d)"), lambda t: checksums.nhs(_digits(t)),
         _words("nhs", "national health")),
    Rule("UK_NINO", re.compile(r"(?<!\w)(?!BG|GB|NK|KN|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)")),
    Rule("ES_NIF", re.compile(r"(?<!\w)[XYZ\d]\d{7}-?[A-Z](?!\w)"), lambda t: checksums.nif(_bare(t))),
    Rule("IT_FISCAL_CODE", re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z](?!\w)"), checksums.fiscal_code),
    Rule("PL_PESEL", re.compile(r"(?<!\d)\d{11}(?!\d)"), checksums.pesel, _words("pesel")),
    Rule("DE_TAX_ID", re.compile(r"(?<!\d)\d{11}(?!\d)"), checksums.steuer_id, _words("steuer-?id", "steuer.*nummer", "tax id", "idnr")),
    Rule("AU_TFN", re.compile(r"(?<!\d)\d{3} ?\d{3} ?\d{3}(?!\d)"), lambda t: checksums.tfn(_digits(t)), _words("tfn", "tax file")),
    Rule("IN_AADHAAR", re.compile(r"(?<!\d)[2-9]\d{3} ?\d{4} ?\d{4}(?!\d)"), lambda t: checksums.verhoeff(_digits(t)),
         _words("aadhaar", "aadhar", "uidai")),
    Rule("IN_PAN", re.compile(r"(?<!\w)[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z](?!\w)")),
    Rule("SG_NRIC_FIN", re.compile(r"(?<!\w)[STFG]\d{7}[A-Z](?!\w)"), checksums.nric),
    Rule("US_PASSPORT", re.compile(r"(?<!\w)[A-Z]?\d{8,9}(?!\w)"), near=_words("passport")),
    Rule("US_DRIVER_LICENSE", re.compile(r"(?<!\w)(?:[A-Z]\d{3,12}|\d{6,9}|[A-Z]{2}\d{5,7}|\d{3}[A-Z]{2}\d{4})(?!\w)"),
         near=_words("driver'?s?.? licen[cs]e", "driving licen[cs]e", "driver licen[cs]e", "dl number")),
    Rule("DATE_OF_BIRTH", re.compile(r"(?<!\d)(?:\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}|\d{4}-\d{2}-\d{2})(?!\d)"),
         near=_words("born", "birth", "birthday", "dob", "d\\.o\\.b")),
    Rule("STREET_ADDRESS", re.compile(
        rf"(?<!\w)\d{{1,6}}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][\w'.]+ ){{1,4}}(?:{_STREET})\b\.?"
        r"(?:,? (?:apt|suite|unit|no|#)\.? ?\w{1,6})?", re.I)),
    Rule("STREET_ADDRESS", re.compile(r"(?<!\w)P\.? ?O\.? Box \d{1,7}\b", re.I)),
)  # fmt: skip
_PHONE: Final = re.compile(r"(?<![\w.,/=-])(?:\+|\(|00)?\d[\d ().\-/]{5,20}\d(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![\w/=-])")
_NO_PHONE: Final = re.compile(
    r"\d{1,4}[./-]\d{1,2}[./-]\d{2,4}|\d+\.\d+|\d{1,3}(?:\.\d{1,3}){3}|[\d-]*97[89][\d-]{10,}"
)
"""Dates, fractions, addresses of computers, ISBNs."""
_NORTH_AMERICAN: Final = re.compile(
    r"(?:(?:\+|00)?1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[.-]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?"
)
_PHONE_WORDS: Final = _words(
    "phone", "call", "tel", "telephone", "mobile", "cell", "fax", "sms", "whatsapp", "office", "desk", "dial", "answering",
    "phone number",
)  # fmt: skip


def personal_data(text: str) -> list[Span]:
    """Every piece of personal data that has a form, in the order of the text; of overlapping ones the first rule's."""
    found: list[Span] = []
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            start, end = match.span()
            if any(start < span.end and span.start < end for span in found):
                continue
            if rule.near and not rule.near.search(text[max(0, start - NEAR) : end + NEAR // 2]):
                continue
            if rule.valid(match.group()):
                found.append(Span(start, end, rule.kind))
    found += _phones(text, found)
    return sorted(found, key=lambda span: span.start)


def _phones(text: str, taken: list[Span]) -> list[Span]:
    """Phone numbers: written as one and known to a numbering plan (phonenumbers), in the North American form, or named
    by a word near them."""
    candidates = [m for m in _PHONE.finditer(text) if 7 <= len(_digits(m.group())) <= 17]
    numbers = _phonenumbers() if candidates else None
    out = []
    for match in candidates:
        start, end = match.span()
        said = match.group()
        if any(start < span.end and span.start < end for span in taken) or _NO_PHONE.fullmatch(said):
            continue
        near = _PHONE_WORDS.search(text[max(0, start - NEAR) : start] + "\n" + text[end : end + NEAR // 3])
        if near or _NORTH_AMERICAN.fullmatch(said) or _known(numbers, said):
            out.append(Span(start, end, "PHONE_NUMBER"))
    return out


def _known(numbers: Any, said: str) -> bool:
    """Whether it is written as a phone number (a plus, brackets, or three groups) and a numbering plan has it."""
    if said.startswith("+"):
        return _is_number(numbers, said, None)
    written = said.startswith(("(", "00")) or len(re.findall(r"\d+", said)) >= 3
    return written and any(_is_number(numbers, said, region) for region in REGIONS)


def _is_number(numbers: Any, text: str, region: str | None) -> bool:
    try:
        return bool(numbers.is_valid_number(numbers.parse(text, region)))
    except numbers.NumberParseException:
        return False


def _phonenumbers() -> Any:
    from charter.models.extras import require

    return require("phonenumbers", "The guard's search for phone numbers", extra="guard")


class PiiLayer:
    """Personal data that has a form: redacted. The score is the share of the text that it takes up, never a stop."""

    name = "pii"

    def __init__(self, clauses: tuple[str, ...] = ("pii",)) -> None:
        """Raises UserError when the package phonenumbers is missing."""
        self._clauses = clauses
        _phonenumbers()

    def check(self, subject: Subject) -> Finding:
        return redaction(personal_data(subject.text), subject.text, self._clauses)


class NamesLayer:
    """Names of people, places and addresses: reported. They are redacted only where the operator asks for it, because
    most prompts with a name in them are about that name."""

    name = "names"

    def __init__(self, redact: bool = False, clauses: tuple[str, ...] = ("pii",)) -> None:
        self._redact, self._clauses = redact, clauses

    def check(self, subject: Subject) -> Finding:
        spans = names(subject.text)
        if self._redact:
            return redaction(spans, subject.text, self._clauses)
        return Finding(score=0.0, spans=tuple(spans))


def redaction(spans: list[Span], text: str, clauses: tuple[str, ...]) -> Finding:
    """What a layer that redacts these spans says."""
    if not spans:
        return Finding(score=0.0)
    share = sum(span.end - span.start for span in spans) / len(text)
    return Finding("redact", min(share, 1.0), clauses, tuple(spans), ", ".join(sorted({s.kind for s in spans})))
