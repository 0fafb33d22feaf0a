"""Lint and diff for every locale, audience and jurisdiction that a charter names, not only for everyone.

A rule that is wrong only in an override would otherwise pass unseen. Each distinct `when` is looked at by itself;
combinations of several (a locale and an audience from different overrides) are not enumerated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from charter.document.diff import Difference, compare_charters
from charter.document.evidence import Evidence
from charter.document.lint import Finding, lint
from charter.document.loading import load_charter
from charter.document.types import Charter, When


def lint_variants(
    charter: Charter, *, suites: Collection[str], layers: Collection[str] = (), watches: Collection[str] = ()
) -> list[tuple[When, Finding]]:
    """Findings on clauses that read differently under an override, with the condition under which they do."""
    everyone = set(charter.clauses)
    found: list[tuple[When, Finding]] = []
    for when in charter.variants:
        variant = _under(charter, when)
        special = tuple(clause for clause in variant.clauses if clause not in everyone)
        findings = lint(replace(variant, clauses=special), suites=suites, layers=layers, watches=watches)
        found += [(when, finding) for finding in findings]
    return found


def compare_variants(old: Charter, new: Charter, evidence: Sequence[Evidence] = ()) -> list[tuple[When, Difference]]:
    """What differs under an override and not for everyone: one entry per condition with such a difference."""
    general = compare_charters(old, new, evidence)
    found: list[tuple[When, Difference]] = []
    for when in dict.fromkeys((*old.variants, *new.variants)):
        special = compare_charters(_under(old, when), _under(new, when))
        only = replace(
            special,
            added=tuple(id for id in special.added if id not in general.added),
            removed=tuple(id for id in special.removed if id not in general.removed),
            changed=tuple(change for change in special.changed if change not in general.changed),
            reordered=special.reordered and not general.reordered,
            suites=tuple(suite for suite in special.suites if suite not in general.suites),
        )
        if only:
            found.append((when, only))
    return found


def _under(charter: Charter, when: When) -> Charter:
    return load_charter(charter.path, locale=when.locale, audience=when.audience, jurisdiction=when.jurisdiction)
