"""The page that whoever is called reads: what the clause says, what happened, what to check, how to contain it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from charter.document import Charter, Clause

_CHECKS: Final = {
    "drift": "Compare the window with the reference: is this a new kind of user, a release, a holiday, or an attack?",
    "cusum": "Read the rows listed: a share of them is unusual. One campaign, or many users?",
    "page-hinkley": "Look at the series over the last days: it creeps. What changed slowly (prompt, retrieval, model)?",
    "adwin": "Find what was released when the level changed: the alarm names the first row of the new level.",
    "burst": "Read the near-duplicates: one template with small changes is a probe.",
    "caller burst": "Look at this caller's other requests, and whether the caller should be slowed down or barred.",
    "repeated": "Read the near-duplicates: they were hardly there before. A new feature, or a list going round?",
    "canary": "Compare the canaries' answers side by side with the reference's: has the model or its adapter changed?",
}


def runbook(
    clause_id: str | None, severity: str, alarms: Sequence[Mapping[str, Any]], charter: Charter | None,
    contact: str | None = None,
) -> str:  # fmt: skip
    """The page as Markdown. Without a charter, or for an alarm of no clause, it says so instead of guessing."""
    clause = charter.clause(clause_id) if charter is not None and clause_id is not None else None
    title = clause_id or "no single clause"
    parts = [
        f"# Runbook: {title} ({severity})",
        "## Who",
        f"Call {contact}." if contact else "No contact was given when this incident was opened: fill in who is called.",
        _decider(clause),
        "## What the clause says",
        *_clause_lines(clause_id, clause),
        "## What happened",
        *(f"- {_said(alarm)}" for alarm in alarms),
        "## What to check",
        *(f"{n}. {line}" for n, line in enumerate(_checks(clause, alarms), 1)),
        "## How to contain it, mildest first",
        *(f"{n}. {line}" for n, line in enumerate(_containment(clause), 1)),
        "## Afterwards",
        "Record each step as a change of state with a note. Confirmed rows belong into the next training round and, "
        "frozen, into the regression suites.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _decider(clause: Clause | None) -> str:
    if clause is not None and clause.kind == "person":
        return "The charter says that a person decides under this clause: do not let a rule decide in their place."
    return ""


def _clause_lines(clause_id: str | None, clause: Clause | None) -> list[str]:
    if clause is None:
        missing = (
            "The alarm belongs to no single clause." if clause_id is None else f"`{clause_id}` (no charter was given)."
        )
        return [missing]
    lines = [f"`{clause.id}` ({clause.kind}, severity {clause.severity}): {clause.rule}"]
    if clause.instead:
        lines.append(f"Instead: {clause.instead}")
    return lines


def _said(alarm: Mapping[str, Any]) -> str:
    evidence = alarm["evidence"]
    measured = " ".join(str(evidence[key]) for key in ("measure", "of", "direction") if evidence.get(key))
    when = alarm["time"] if alarm["time"] is not None else "time not recorded"
    means = (evidence.get("reference_mean"), evidence.get("window_mean"))
    change = f", mean {means[0]:.4g} before and {means[1]:.4g} now" if None not in means else ""
    return (
        f"{when}: {alarm['kind']} of {measured or 'prompts'}: {alarm['statistic']:.4g}, threshold "
        f"{alarm['threshold']:.4g}{change}."
    )


def _checks(clause: Clause | None, alarms: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds = dict.fromkeys(str(alarm["kind"]) for alarm in alarms)
    lines = [_CHECKS[kind] for kind in kinds if kind in _CHECKS]
    lines.append("Read the evidence rows of the incident, verdict by verdict and layer by layer.")
    if clause is not None and clause.test:
        suites = ",".join(dict.fromkeys(name.split("/")[0] for name in clause.test))
        lines.append(f"Measure the live model on the clause's suites: `charter eval MODEL --suites {suites}`.")
    if clause is not None and not clause.test:
        lines.append("No suite tests this clause: write down by hand whether the answers break it.")
    return lines


def _containment(clause: Clause | None) -> list[str]:
    layers = ", ".join(clause.guard) if clause is not None else ""
    tighten = (
        f"Tighten the threshold of the clause's guard layers ({layers}) and watch the block rate of benign traffic."
        if layers
        else "Tighten the guard's threshold and watch the block rate of benign traffic (no layer names this clause)."
    )
    return [
        tighten,
        "Route the affected requests to review, so that a person releases each answer.",
        "Switch to the previous adapter, and run the canaries on it before it takes traffic.",
        "Stop serving the model. Do this at once where people may be harmed meanwhile.",
    ]
