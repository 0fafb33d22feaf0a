"""The gate: verdicts on real comparisons, exit codes that agree, JUnit that never looks green by accident."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from charter.errors import UserError
from charter.evaluation.compare import Comparison, compare
from charter.evaluation.gate import CORE_METRICS, Gate, alignment_gate, regression_gate
from charter.evaluation.results import Outcome
from charter.evaluation.verdicts import junit_xml, result_rows


def sides(metric: str, both: int, lost: int, gained: int, neither: int) -> tuple[list[Outcome], list[Outcome]]:
    """Two sides with a known paired table."""
    pairs = [(1.0, 1.0)] * both + [(1.0, 0.0)] * lost + [(0.0, 1.0)] * gained + [(0.0, 0.0)] * neither
    rows = [Outcome("suite-" + metric, metric, str(i), 1, base) for i, (base, _) in enumerate(pairs)]
    return rows, [replace(row, value=pair[1]) for row, pair in zip(rows, pairs, strict=True)]


def compared(*tables: tuple[str, int, int, int, int]) -> list[Comparison]:
    parts = [sides(*table) for table in tables]
    return compare([o for base, _ in parts for o in base], [o for _, candidate in parts for o in candidate])


GOOD_RUN = [
    ("harmful_refused", 3, 0, 84, 33),
    ("benign_answered", 370, 14, 6, 30),
    ("instruction_following", 120, 20, 18, 242),
    ("knowledge", 200, 10, 9, 181),
]


def test_a_good_run_passes_with_exit_0() -> None:
    rows = compared(*GOOD_RUN)
    result = alignment_gate().decide(rows)
    assert (result.verdict, result.exit_code()) == ("pass", 0)
    assert [d.verdict for d in result.decisions] == ["pass"] * 4


def test_a_fall_regresses_with_exit_1_and_names_the_metric() -> None:
    rows = compared(*GOOD_RUN[:3], ("knowledge", 150, 60, 5, 185))
    result = alignment_gate().decide(rows)
    assert (result.verdict, result.exit_code()) == ("regressed", 1)
    assert "knowledge" in result.reason
    assert "benign" not in result.reason


def test_too_few_samples_are_inconclusive_with_exit_3() -> None:
    result = regression_gate(rows := compared(("knowledge", 10, 1, 1, 8))).decide(rows)
    assert (result.verdict, result.exit_code()) == ("inconclusive", 3)


def test_no_gain_is_not_a_pass_for_alignment() -> None:
    rows = compared(("harmful_refused", 3, 1, 2, 114), *GOOD_RUN[1:])
    assert alignment_gate().decide(rows).verdict == "inconclusive"


def test_unmeasured_metric_is_inconclusive() -> None:
    result = alignment_gate().decide(compared(*GOOD_RUN[:3]))
    assert result.verdict == "inconclusive"
    assert "knowledge: not measured" in result.reason
    assert Gate(metrics={}).decide([]).verdict == "inconclusive"


def test_missing_scores_and_different_samples_never_pass() -> None:
    base, candidate = sides("knowledge", 350, 2, 2, 46)
    holes = [replace(o, value=None, unscored="timeout") if i % 10 == 0 else o for i, o in enumerate(candidate)]
    for other, word in ((holes, "unscored"), (candidate[:-5], "different samples")):
        rows = compare(base, other)
        result = regression_gate(rows).decide(rows)
        assert result.verdict == "inconclusive"
        assert word in result.reason
    rows = compare(base, candidate)
    assert regression_gate(rows).decide(rows).verdict == "pass"


def test_a_fall_over_missing_scores_still_regresses() -> None:
    base, candidate = sides("knowledge", 200, 100, 5, 95)
    holes = [replace(o, value=None, unscored="timeout") if i % 10 == 0 else o for i, o in enumerate(candidate)]
    rows = compare(base, holes)
    assert regression_gate(rows).decide(rows).verdict == "regressed"


def test_holm_spreads_over_the_family() -> None:
    # p = 0.0414 alone shows a fall; among four metrics it does not.
    table = (45, 15, 5, 35)
    alone = compared(("knowledge", *table))
    assert regression_gate(alone).decide(alone).verdict == "regressed"
    quiet = [(metric, 390, 2, 2, 6) for metric in CORE_METRICS[:3]]
    family = compared(("knowledge", *table), *quiet)
    result = regression_gate(family).decide(family)
    assert result.verdict == "inconclusive"
    decision = next(d for d in result.decisions if d.metric == "knowledge")
    assert decision.adjusted_p == pytest.approx(4 * 0.0414, abs=1e-3)


def test_informational_metrics_and_slices_do_not_decide() -> None:
    rows = compared(("harmful_refused_at_all", 0, 100, 0, 20), ("knowledge", 390, 2, 2, 6))
    assert regression_gate(rows).decide(rows).verdict == "pass"


def test_foreign_metrics_are_gated_when_no_core_metric_is_there() -> None:
    rows = compared(("choice", 100, 80, 2, 118))
    assert regression_gate(rows).decide(rows).verdict == "regressed"


def test_shared_metric_names_need_the_suite() -> None:
    base, candidate = sides("match", 390, 2, 2, 6)
    rows = compare(base + [replace(o, suite="b") for o in base], candidate + [replace(o, suite="b") for o in candidate])
    assert set(regression_gate(rows).metrics) == {"suite-match/match", "b/match"}
    assert regression_gate(rows).decide(rows).verdict == "pass"
    with pytest.raises(UserError, match="suite/metric"):
        Gate.from_config({"match": {"margin": 0.1}}).decide(rows)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"knowledge": {"margn": 0.1}}, "margin"),
        ({"knowledge": {}}, "min_gain"),
        ({"knowledge": {"margin": -0.1}}, "greater than 0"),
        ({"knowledge": {"margin": "much"}}, "number"),
    ],
)
def test_bad_gates_say_what_is_wrong(config: dict[str, dict[str, object]], word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        Gate.from_config(config, "recipe.yaml, gate")
    assert "recipe.yaml, gate" in str(caught.value)
    assert "knowledge" in str(caught.value)


def test_junit_and_json_agree_with_the_verdict() -> None:
    rows = compared(*GOOD_RUN[:2], ("instruction_following", 10, 1, 1, 8), ("knowledge", 150, 60, 5, 185))
    result = regression_gate(rows).decide(rows)
    suite = ElementTree.fromstring(junit_xml(result)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["knowledge"]
    verdicts = {row["name"]: row["verdict"] for row in result_rows(rows, result)["metrics"]}
    assert verdicts["instruction_following"] == "inconclusive"
    assert verdicts["knowledge"] == "regressed"
    empty = ElementTree.fromstring(junit_xml(Gate(metrics={}).decide([]))).find("testsuite")
    assert empty is not None
    assert empty.get("errors") == "1"


def test_error_rates_end_to_end_at_shipped_sizes() -> None:
    """Through compare and gate: no change regresses <= 5%, a true 10-point fall (discordance 0.2) >= 90%."""
    rng = np.random.default_rng(42)

    def run(deltas: dict[str, float]) -> str:
        tables = []
        for metric, delta in deltas.items():
            lost, gained, _ = rng.multinomial(400, [(0.2 - delta) / 2, (0.2 + delta) / 2, 0.8])
            tables.append((metric, 400 - lost - gained, int(lost), int(gained), 0))
        rows = compared(*tables)
        return regression_gate(rows).decide(rows).verdict

    still = dict.fromkeys(CORE_METRICS[1:], 0.0)
    unchanged = [run(still) for _ in range(60)]
    dropped = [run(still | {"knowledge": -0.1}) for _ in range(60)]
    # 60 runs: at a true rate of 2.5% (97%), 5 or more (6 or fewer misses) has a chance below 2% (0.5%).
    assert unchanged.count("regressed") <= 4
    assert dropped.count("regressed") >= 54
