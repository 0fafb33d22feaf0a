"""Results as a layer of the ATLAS Navigator: each technique coloured by how often its attacks got through."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from charter.redteam.results import Row, rate_of, rates

VERSIONS: Final = {"layer": "4.3", "navigator": "4.6.4"}
TACTICS: Final[Mapping[str, tuple[str, ...]]] = {
    "AML.T0040": ("ai-model-access",),
    "AML.T0043": ("ai-attack-staging",),
    "AML.T0051": ("execution",),
    "AML.T0054": ("privilege-escalation", "defense-evasion"),
    "AML.T0057": ("exfiltration",),
    "AML.T0062": ("discovery",),
    "AML.T0065": ("resource-development",),
    "AML.T0068": ("defense-evasion",),
    "AML.T0073": ("defense-evasion",),
}
"""The tactics of the techniques that attacks name, from ATLAS; a technique stands once under each."""


def parent(technique: str) -> str | None:
    """`AML.T0051` of `AML.T0051.000`; None for a technique that is no part of another."""
    head, _, tail = technique.removeprefix("AML.").partition(".")
    return f"AML.{head}" if tail else None


def layer(rows: Sequence[Row], name: str) -> str:
    """The layer as text. Scores are success rates in percent; what was tried and not scored has none."""
    techniques: list[dict[str, Any]] = []
    found = rates(rows, "technique")
    heads: dict[str, list[Row]] = {}
    for rate in found:
        head = parent(rate.name)
        if head:
            heads.setdefault(head, []).extend(row for row in rows if rate.name in (row.get("techniques") or ()))
            techniques.append({"techniqueID": rate.name, **_word(rate)})
    named = {rate.name: rate for rate in found if not parent(rate.name)}
    named |= {head: rate_of("technique", head, members) for head, members in heads.items() if head not in named}
    for technique, rate in named.items():
        for tactic in TACTICS.get(technique, (None,)):
            where = {"tactic": tactic} if tactic else {}
            shown = {"showSubtechniques": technique in heads}
            techniques.append({"techniqueID": technique, **where, **_word(rate), **shown})
    document = {
        "name": name,
        "versions": VERSIONS,
        "domain": "atlas-atlas",
        "description": "Share of attacks that got through, in percent, by the technique that they are.",
        "metadata": [{"name": "atlas_data_version", "value": atlas_names()["version"]}],
        "techniques": techniques,
        "gradient": {"colors": ["#ffffff", "#f4a582", "#b2182b"], "minValue": 0, "maxValue": 100},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def atlas_names() -> dict[str, Any]:
    """The shipped list of ATLAS techniques: `version` and `techniques` by id."""
    found: dict[str, Any] = json.loads((files("charter.document") / "atlas.json").read_text(encoding="utf-8"))
    return found


def _word(rate: Any) -> dict[str, Any]:
    comment = f"{rate.successes} of {rate.n} attacks got through; {rate.unscored} unscored"
    return {"comment": comment, **({} if rate.rate is None else {"score": round(100 * rate.rate, 1)})}
