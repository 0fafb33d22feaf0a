"""A check as SARIF 2.1.0, the format in which code scanning servers take findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from charter import __version__
from charter.evaluation.regression import Regression

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {"regressed": "error", "inconclusive": "warning"}
_RULES: Final = {
    "regressed": "A gated metric fell",
    "inconclusive": "A gated metric could not be decided",
    "slice-alarm": "A slice of a gated metric fell",
}


def sarif(regression: Regression, artifact: str = "charter-regress") -> str:
    """The document as text: a result for each gated metric that did not pass, and for each slice with an alarm.

    A gate over nothing is a result too. artifact: what the results are about, a path relative to the repository or a
    name; servers refuse results without a place.
    """
    results = [
        _result(decision.verdict, decision.metric, f"{decision.metric}: {decision.reason}", artifact)
        for decision in regression.result.decisions
        if decision.verdict != "pass"
    ]
    if not regression.result.decisions:
        results.append(_result("inconclusive", "gate", regression.result.reason, artifact))
    results += [
        _result("slice-alarm", f"{finding.metric}/{finding.slice}", finding.sentence(), artifact)
        for finding in regression.slices
        if finding.alarm
    ]
    driver = {
        "name": "charter",
        "semanticVersion": __version__,
        "rules": [{"id": name, "shortDescription": {"text": text}} for name, text in _RULES.items()],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "charter-regress/"},
        # The check ran to its end; what it found is in the results.
        "invocations": [{"executionSuccessful": True, "exitCode": regression.result.exit_code()}],
        "results": results,
        "properties": {"verdict": regression.result.verdict, "reason": regression.result.reason},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _result(rule: str, metric: str, text: str, artifact: str) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "level": _LEVELS.get(rule, "warning"),
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(artifact)},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"name": metric, "kind": "resource"}],
            }
        ],
        # Servers tell a finding that stays from a new one by this.
        "partialFingerprints": {"charterMetric/v1": f"{rule}:{metric}"},
    }


def _uri(artifact: str) -> str:
    """A path as a relative URI reference, percent-encoded."""
    from urllib.parse import quote

    path = Path(artifact)
    inside = path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
    return quote(inside.as_posix().lstrip("/"), safe="/")
