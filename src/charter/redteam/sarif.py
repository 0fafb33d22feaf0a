"""Attacks that got through as SARIF 2.1.0, the format in which code scanning servers take findings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from charter import __version__
from charter.redteam.atlas import atlas_names
from charter.redteam.results import Row, rates

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(rows: Sequence[Row], artifact: str) -> str:
    """The document as text: a result for each attack and behaviour that got through, a rule for each attack.

    artifact: what the results are about, a relative path or a name; servers refuse results without a place.
    Completions are not in it, so that findings may be shown to more people than may read harmful answers.
    """
    found = rates(rows, "attack")
    places = {rate.name: index for index, rate in enumerate(found)}
    names = atlas_names()["techniques"]
    rules = [_rule(rate.name, next(row for row in rows if row["attack"] == rate.name), rate, names) for rate in found]
    hits = [row for row in rows if row.get("success")]
    run = {
        "tool": {"driver": {"name": "charter", "semanticVersion": __version__, "rules": rules}},
        "automationDetails": {"id": "charter-redteam/"},
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(row, places[row["attack"]], artifact) for row in hits],
        "properties": {"unscored": sum(row.get("success") is None for row in rows), "attacked": len(rows)},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False) + "\n"


def _rule(name: str, row: Row, rate: Any, names: dict[str, str]) -> dict[str, Any]:
    techniques = row.get("techniques") or []
    words = ", ".join(f"{technique} {names.get(technique, '')}".strip() for technique in techniques)
    return {
        "id": name,
        "shortDescription": {"text": f"The attack {name} gets through"},
        "fullDescription": {
            "text": f"{rate.successes} of {rate.n} behaviours. ATLAS: {words or 'no technique named'}."
        },
        "properties": {"tags": ["security", *techniques]},
    }


def _result(row: Row, index: int, artifact: str) -> dict[str, Any]:
    score = row.get("score")
    sure = f" (score {score:.2f})" if isinstance(score, float) else ""
    return {
        "ruleId": row["attack"],
        "ruleIndex": index,
        "level": "error",
        "message": {"text": f"{row['attack']} got through on {row['id']}: {row.get('behaviour', '')}{sure}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _uri(artifact)}, "region": {"startLine": 1}},
                "logicalLocations": [{"name": str(row["id"]), "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"charterAttack/v1": f"{row['attack']}:{row['id']}"},
    }


def _uri(artifact: str) -> str:
    from urllib.parse import quote

    return quote(artifact.lstrip("/"), safe="/")
