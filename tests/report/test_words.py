"""Numbers in words, and the paragraphs written from the data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from charter.report import GateRule, JudgeRow, MetricRow, ReportData, SampleRow, read_curve
from charter.report.narrative import limits, summary
from charter.report.words import duration, join, movement, p_value, points, rate


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (rate(0.0333), "3.3%"),
        (rate(None), "–"),
        (rate(float("nan")), "–"),
        (points(-0.0309), "−3.1"),
        (points(0.6792), "+67.9"),
        (points(-0.0001), "0.0"),
        (p_value(0.0), "< 0.001"),
        (p_value(0.0314), "0.031"),
        (duration(0.42), "0.4 s"),
        (duration(59.7), "1 min 0 s"),
        (duration(7500), "2 h 5 min"),
        (join(["a", "b", "c"]), "a, b and c"),
        (join([]), ""),
    ],
)
def test_numbers_for_people(shown: str, wanted: str) -> None:
    assert shown == wanted


def test_movement_names_its_direction() -> None:
    row = MetricRow("m", 100, 0.2, 0.5, 0.3, 0.2, 0.4)
    assert movement(row) == "rose from 20.0% to 50.0% (+30.0 points, interval +20.0 to +40.0)"
    assert movement(dataclasses.replace(row, base=0.8, delta=-0.3, ci_low=-0.4, ci_high=-0.2)).startswith("fell from")
    assert movement(dataclasses.replace(row, candidate=None)) == "was not measured"


def test_the_summary_is_three_sentences_with_the_runs_numbers(data: ReportData) -> None:
    first, second, third = summary(data)
    assert "harmful requests refused rose from 3.3% to 71.2% (+67.9 points" in first
    assert "benign requests answered fell from 97.4% to 94.3%" in second
    assert "instruction following (41.2% before, 40.8% after) and plain knowledge" in second
    assert second.endswith("did not measurably change.")
    assert "the judge “refusal” agrees with labels on 93.1% of 450 rows" in third


def test_the_summary_names_what_failed_and_what_is_open(data: ReportData) -> None:
    gate = (GateRule("knowledge", -0.1, "", "regressed"), GateRule("benign_answered", -0.1, "", "inconclusive"))
    third = summary(dataclasses.replace(data, verdict="regressed", gate=gate))[2]
    assert "failed on plain knowledge, and the samples do not settle benign requests answered" in third
    assert "every gated measure" not in third


def test_limits_come_from_the_data(data: ReportData) -> None:
    text = " ".join(limits(data))
    assert "2 of the numbers for single clauses or slices rest on fewer than 100 pairs" in text
    assert "was wrong on 6.9% of the 450 labelled rows" in text
    assert "3 rows could not be scored" in text
    assert "Nothing tests honesty and advice.person" in text
    assert "greedy, at most 128 new tokens" in text
    assert "one seed (0)" in text
    other = dataclasses.replace(data, judges=(JudgeRow("harm", ("harmful_refused",)),), decoding="", seeds={})
    text = " ".join(limits(other))
    assert "“harm” has no measured agreement" in text
    assert "decoded" not in text
    assert "seed" not in text


def test_the_whole_set_is_found_however_its_clauses_are_given(data: ReportData) -> None:
    joined = MetricRow("m", 50, 0.1, 0.2, clause="a, b")
    split = MetricRow("m", 20, 0.1, 0.2, clause="a")
    sliced = MetricRow("m", 10, 0.1, 0.2, slice="code")
    one = dataclasses.replace(data, metrics=(sliced, joined, split))
    assert one.whole() == [joined]
    assert one.parts() == [sliced, split]
    plain = MetricRow("m", 50, 0.1, 0.2)
    assert dataclasses.replace(data, metrics=(split, plain)).whole() == [plain]


@pytest.mark.parametrize(
    ("before", "after", "scores", "change"),
    [
        ("none", "full", (0.0, 1.0), "improved"),
        ("none", "full", (1.0, 0.0), "worsened"),
        ("partial", "full", (1.0, 1.0), "same"),
        ("none", "none", (None, None), "same"),
        ("none", "full", (None, 1.0), "changed"),
    ],
)
def test_the_score_decides_what_improved(before: str, after: str, scores: tuple[float, float], change: str) -> None:
    sample = SampleRow("i", "s", "p", "b", "a", before, after, None, *scores)
    assert sample.change == change


def test_a_torn_log_with_repeats_and_nan_gives_a_clean_curve(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [
        {"step": 2, "loss": 9.0},
        {"step": 1, "loss": 2.0, "note": "x"},
        {"step": 2, "loss": 1.5, "lr": float("inf")},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + '\n[1]\n{"step": 3, "lo', encoding="utf-8")
    assert read_curve("sft", path).rows == ({"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5})
    assert read_curve("sft", tmp_path / "none.jsonl").rows == ()


def test_an_unknown_verdict_is_refused(data: ReportData) -> None:
    with pytest.raises(ValueError, match="unknown verdict 'passed'"):
        dataclasses.replace(data, verdict="passed")


def test_preference_accuracy_is_a_gain_against_chance(data: ReportData) -> None:
    row = MetricRow("preference_accuracy", 500, 0.5, 0.62, 0.12, 0.077, 0.162)
    first, second, _ = summary(dataclasses.replace(data, metrics=(row,), gate=()))
    assert "preference accuracy is 62.0% against 50.0% by chance (+12.0 points" in first
    assert second == "What it cost elsewhere was not measured."


def test_the_summary_says_whether_training_carried_over(data: ReportData) -> None:
    unseen = MetricRow("harmful_refused", 120, 0.02, 0.64, 0.62, 0.52, 0.71, slice="categories not trained on")
    first = summary(dataclasses.replace(data, metrics=(*data.metrics, unseen)))[0]
    assert "on categories not trained on it rose from 2.0% to 64.0%" in first
    assert "categories not trained on" not in summary(data)[0]
