"""What a charter promises and nothing backs: undefined controls, names that do not exist, evidence gone stale."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from charter.document.evidence import Evidence
from charter.document.types import Charter, Clause, Severity
from charter.errors import nearest

Code = Literal["unknown-name", "stale-evidence", "undefined-control", "gap"]
Level = Literal["error", "warning", "note"]
Control = Literal["train", "test", "guard", "watch"]

LEVELS: Final[dict[Code, Level]] = {
    "unknown-name": "error",
    "stale-evidence": "error",
    "undefined-control": "warning",
    "gap": "note",
}
_SEVERITIES: Final[tuple[Severity, ...]] = ("high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that lint found. `missing` names the controls that the clause lacks."""

    code: Code
    message: str
    clause: str | None = None
    severity: Severity | None = None
    missing: tuple[Control, ...] = ()
    place: str = ""

    @property
    def level(self) -> Level:
        return LEVELS[self.code]


def lint(
    charter: Charter,
    *,
    suites: Collection[str],
    layers: Collection[str] = (),
    watches: Collection[str] = (),
    evidence: Sequence[Evidence] = (),
    suite_digests: Mapping[str, str] | None = None,
    model_digest: str | None = None,
) -> list[Finding]:
    """Check a charter against what exists.

    suites: names of suites, and of slices as suite/slice.  layers, watches: what is there to enforce and to watch.
    suite_digests, model_digest: what these are now; evidence is not checked against what is not given.
    Returns findings, errors first, then by the severity of the clause, then in the charter's order.

    An undefined control is a clause that nothing tests: whatever trains or guards it, no number says that it holds.
    A gap is a tested clause that nothing trains, guards or watches. A name that does not exist counts for nothing.
    """
    known: dict[Control, Collection[str]] = {"test": suites, "guard": layers, "watch": watches}
    findings: list[Finding] = []
    for clause in charter.clauses:
        place = charter.places.get(clause.id, "")
        findings += _unknown_names(clause, known, place)
        findings += _missing_controls(clause, known, place)
    for item in evidence:
        findings += _stale(charter, item, suites, suite_digests or {}, model_digest)
    order: list[Level] = ["error", "warning", "note"]
    return sorted(findings, key=lambda f: (order.index(f.level), _SEVERITIES.index(f.severity or "high")))


def _unknown_names(clause: Clause, known: Mapping[Control, Collection[str]], place: str) -> Iterator[Finding]:
    named: dict[Control, tuple[str, ...]] = {"test": clause.test, "guard": clause.guard, "watch": clause.watch}
    nouns: dict[Control, str] = {"test": "suite", "guard": "guard layer", "watch": "watch rule"}
    for control, names in named.items():
        for name in names:
            if name in known[control]:
                continue
            suite = name.split("/")[0]
            noun = nouns[control]
            if control == "test" and "/" in name and suite in known["test"]:
                slices = sorted(n for n in known["test"] if n.startswith(suite + "/"))
                hint = nearest(name, slices) or (f" It has {', '.join(slices)}." if slices else " It has no slices.")
                message = f'names "{name}", but the suite {suite} has no such slice.{hint}'
            else:
                message = (
                    f'names the {noun} "{name}", which does not exist here.{nearest(name, sorted(known[control]))}'
                )
            yield Finding("unknown-name", message, clause.id, clause.severity, (), place)


def _missing_controls(clause: Clause, known: Mapping[Control, Collection[str]], place: str) -> Iterator[Finding]:
    working: dict[Control, bool] = {
        "train": bool(clause.train),
        "test": any(name in known["test"] for name in clause.test),
        "guard": any(name in known["guard"] for name in clause.guard),
        "watch": any(name in known["watch"] for name in clause.watch),
    }
    missing = tuple(control for control, works in working.items() if not works)
    if not missing:
        return
    verbs: dict[Control, str] = {"train": "trains", "test": "tests", "guard": "guards", "watch": "watches"}
    message = f"nothing {_either([verbs[control] for control in missing])} it."
    code: Code = "gap" if working["test"] else "undefined-control"
    yield Finding(code, message, clause.id, clause.severity, missing, place)


def _stale(
    charter: Charter,
    item: Evidence,
    suites: Collection[str],
    suite_digests: Mapping[str, str],
    model_digest: str | None,
) -> Iterator[Finding]:
    now = {clause.id: clause for clause in charter.clauses}
    reasons: list[str] = []
    for id, digest in item.clauses.items():
        if id not in now:
            reasons.append(f"clause {id} is no longer in the charter")
        elif now[id].digest != digest:
            reasons.append(f"clause {id} has changed since")
    if item.suite and item.suite not in suites:
        reasons.append(f"suite {item.suite} no longer exists")
    elif item.suite_digest and suite_digests.get(item.suite, item.suite_digest) != item.suite_digest:
        reasons.append(f"suite {item.suite} has changed since")
    if model_digest is not None and item.model_digest and item.model_digest != model_digest:
        reasons.append("it was measured on another model")
    if reasons:
        touched = [now[id].severity for id in item.clauses if id in now and now[id].digest != item.clauses[id]]
        worst = min(touched, key=_SEVERITIES.index, default=None)
        when = f" of {item.time}" if item.time else ""
        message = f"the number {item.metric}{when} no longer stands: {'; '.join(reasons)}. Measure it again."
        only = next(iter(item.clauses)) if len(item.clauses) == 1 else None
        yield Finding("stale-evidence", message, only, worst)


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
