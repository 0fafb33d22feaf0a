"""A gate's result for machines: rows as in report.json, and JUnit XML that any CI server shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree

from charter.evaluation.compare import Comparison
from charter.evaluation.corrections import corrected_row
from charter.evaluation.gate import GateResult

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def result_rows(comparisons: Sequence[Comparison], result: GateResult) -> dict[str, Any]:
    """{"verdict", "reason", "metrics": [...]}: one row per comparison (slices too), named as in report.json.

    Rows that the gate decided on carry its verdict, reason and the Holm-adjusted p; the others null. `corrected` is
    what a judged metric's rates are once its judge's measured errors are taken out, null where that is not known. A
    gated metric that was not measured has a row of nulls with its reason.
    """
    rows = []
    for comparison in comparisons:
        decision = next((d for d in result.decisions if d.comparison is comparison), None)
        rows.append(
            comparison.as_row()
            | {
                "verdict": decision.verdict if decision else None,
                "reason": decision.reason if decision else None,
                "adjusted_p": decision.adjusted_p if decision else None,
                "corrected": corrected_row(comparison),
            }
        )
    empty: dict[str, Any] = dict.fromkeys(
        ("suite", "clause", "slice", "base", "candidate", "delta", "ci_low", "ci_high")
    )
    for decision in result.decisions:
        if decision.comparison is None:
            missing = {"name": decision.metric, "n": 0, "p": None, "unscored": 0, "adjusted_p": None, "corrected": None}
            rows.append(empty | missing | {"verdict": decision.verdict, "reason": decision.reason})
    return {"verdict": result.verdict, "reason": result.reason, "metrics": rows}


def junit_xml(result: GateResult, name: str = "charter regress", remarks: Sequence[str] = ()) -> str:
    """One test case per gated metric: regressed is a failure, inconclusive an error, so neither looks green.

    A gate over nothing is one errored case, because a report without cases is green in most CI servers. remarks stand
    in the output of the whole. Characters that XML cannot hold are replaced.
    """
    cases = [(d.metric, d.verdict, d.reason, d.comparison) for d in result.decisions]
    if not cases:
        cases = [("gate", result.verdict, result.reason, None)]
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(sum(verdict == "regressed" for _, verdict, _, _ in cases)),
        errors=str(sum(verdict == "inconclusive" for _, verdict, _, _ in cases)),
    )
    for metric, verdict, reason, comparison in cases:
        case = ElementTree.SubElement(
            suite, "testcase", name=metric, classname=comparison.suite if comparison else name
        )
        if verdict != "pass":
            kind = "failure" if verdict == "regressed" else "error"
            ElementTree.SubElement(case, kind, message=reason, type=verdict).text = reason
        ElementTree.SubElement(case, "system-out").text = reason
    if remarks:
        ElementTree.SubElement(suite, "system-out").text = "\n".join(remarks)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _NOT_XML.sub("\ufffd", text) + "\n"
