"""Measures of a whole set: calibration error against a plain count, effect sizes against scipy, names of suites."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from charter.cli import evaluate as cli
from charter.errors import UserError
from charter.evaluation.estimate import planned_sizes
from charter.evaluation.results import Outcome
from charter.evaluation.sides import suites_named
from charter.evaluation.suites.catalogue import CORE_SUITES, GATE_SUITES, SPECS
from charter.evaluation.summary import calibration_interval, effect_size, summarise


def test_calibration_error_is_the_mean_gap_of_its_bins() -> None:
    stated = [0.95] * 10 + [0.55] * 10
    hits = [True] * 8 + [False] * 2 + [True] * 7 + [False] * 3
    value, low, high = calibration_interval(stated, hits)
    assert value == pytest.approx(0.5 * 0.15 + 0.5 * 0.15)
    assert 0.0 <= low <= value <= high <= 1.0
    sure, _, _ = calibration_interval([1.0] * 20, [True] * 20)
    assert sure == 0.0


def test_effect_size_is_the_paired_t_over_root_n() -> None:
    gaps = np.random.default_rng(3).normal(0.4, 1.3, size=50)
    d, low, high = effect_size(list(gaps))
    assert d == pytest.approx(stats.ttest_1samp(gaps, 0.0).statistic / 50**0.5)
    assert low < d < high
    assert effect_size([0.0] * 9)[0] == 0.0


def test_the_interval_of_an_effect_size_holds_it_about_95_percent_of_the_time() -> None:
    rng = np.random.default_rng(5)
    held = [
        low <= 0.5 <= high for _, low, high in (effect_size(list(row)) for row in rng.normal(0.5, 1.0, size=(400, 30)))
    ]
    assert 0.92 <= np.mean(held) <= 0.98


def outcome(metric: str, i: int, value: float, suite: str, slice_: str) -> Outcome:
    return Outcome(suite, metric, str(i), 1, value, slice=slice_)


def test_summaries_add_what_no_single_sample_has() -> None:
    rows = [outcome("knows_what_it_knows", i, float(i % 2), "knowledge_choices", "x") for i in range(20)]
    rows += [outcome("confidence", i, 0.9, "knowledge_choices", "x") for i in range(20)]
    rows += [outcome("yes_gap", i, 0.5 + i / 10, "fair_decisions", "hiring_age") for i in range(10)]
    rows += [outcome("yes_gap", i + 10, 0.5, "fair_decisions", "lending_religion") for i in range(3)]
    found = {row.metric: row for row in summarise(rows)}
    assert found["expected_calibration_error"].value == pytest.approx(0.4)
    assert found["effect_size_age"].n == 10
    assert found["effect_size_age"].rate is False
    assert "effect_size_religion" not in found, "three pairs say nothing"
    assert found["yes_gap"].rate is False
    assert found["confidence"].rate is True


def test_names_of_suites_and_of_groups() -> None:
    assert suites_named(None) == list(CORE_SUITES)
    assert suites_named(None, GATE_SUITES)[0] == "harmful_requests_wide"
    assert suites_named("core,tone,knowledge") == [*CORE_SUITES, "tone"]
    assert suites_named("all") == list(SPECS)
    with pytest.raises(UserError, match="--suites is empty"):
        suites_named(" ,")


def test_what_would_be_gated_is_known_beforehand() -> None:
    assert planned_sizes(["tone", "knowledge"], None) == {("knowledge", "knowledge"): 446}
    assert planned_sizes(["tone", "fair_decisions"], 90) == {
        ("tone", "tone_kept"): 90,
        ("fair_decisions", "treated_alike"): 90,
    }


def test_a_whole_options_suite_through_the_command_line(tiny_base: Path, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command("eval")(cli.eval_)
    app.command("regress")(cli.regress)
    arguments = [str(tiny_base), "--suites", "fair_decisions", "--log-dir", str(tmp_path / "logs"), "--json"]
    found = json.loads(CliRunner().invoke(app, ["eval", *arguments]).stdout)
    metrics = {row["metric"]: row for row in found["metrics"]}
    assert metrics["treated_alike"]["n"] == 160
    assert {"effect_size_gender", "effect_size_origin", "effect_size_age"} <= set(metrics)
    logs = str(tmp_path / "logs")
    result = CliRunner().invoke(app, ["regress", logs, logs, "--json", str(tmp_path / "r.json")])
    verdict = json.loads((tmp_path / "r.json").read_text())
    assert result.exit_code == 0
    assert [row["name"] for row in verdict["metrics"] if row["verdict"] == "pass"] == ["treated_alike"]
