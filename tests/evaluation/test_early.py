"""Stopping early: certain verdicts only, nested draws, and a real check of two real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.evaluation.compare import compare
from charter.evaluation.early import early_result, look_sizes
from charter.evaluation.gate import Gate, MetricGate
from charter.evaluation.results import Outcome
from charter.evaluation.suites.samples import load_suite
from charter.evaluation.tasks import chosen


def sides(metric: str, n: int, base: int, kept: int, silent: bool = False) -> tuple[list[Outcome], list[Outcome]]:
    """The base is right on the first `base` of n samples, the candidate on the first `kept`."""

    def side(right: int, mute: bool) -> list[Outcome]:
        return [
            Outcome("s", metric, str(i), 1, float(i < right), completion="" if mute else "x", silent=mute)
            for i in range(n)
        ]

    return side(base, False), side(kept, silent)


def gate(**more: float) -> Gate:
    return Gate(metrics={"m": MetricGate(margin=0.1, **more)})


def test_only_what_is_certain_is_decided() -> None:
    same = compare(*sides("m", 256, 200, 200))
    found = early_result(gate(), same)
    assert found is not None
    assert (found.verdict, found.exit_code()) == ("pass", 0)
    assert early_result(gate(), compare(*sides("m", 12, 9, 9))) is None
    assert early_result(gate(), compare(*sides("m", 64, 50, 46))) is None
    fallen = early_result(gate(), compare(*sides("m", 64, 50, 20)))
    assert fallen is not None
    assert (fallen.verdict, fallen.exit_code()) == ("regressed", 1)
    # A wanted gain is decided at the full size, a fall is not kept waiting for it.
    assert early_result(gate(min_gain=0.0), same) is None
    assert early_result(gate(min_gain=0.0), compare(*sides("m", 64, 50, 20))) is not None


def test_silence_does_not_pass_and_scores_wait() -> None:
    before, after = sides("m", 256, 200, 200, silent=True)
    assert early_result(gate(), compare(before, after)) is None
    half = [Outcome("s", "m", str(i), 1, 0.5, completion="x") for i in range(256)]
    assert early_result(gate(), compare(half, half)) is None


def test_one_fall_decides_and_the_others_stay_open() -> None:
    fallen, same = sides("m", 64, 50, 20), sides("other", 64, 50, 49)
    rows = compare([*fallen[0], *same[0]], [*fallen[1], *same[1]])
    both = Gate(metrics={"m": MetricGate(margin=0.1), "other": MetricGate(margin=0.1)})
    found = early_result(both, rows)
    assert found is not None
    assert {one.metric: one.verdict for one in found.decisions} == {"m": "regressed", "other": "inconclusive"}


@pytest.mark.parametrize("seed", [0, 3])
def test_draws_are_nested(seed: int) -> None:
    samples = load_suite("knowledge")
    small, large = (chosen(samples, size, seed) for size in (16, 130))
    assert len(small) == 16
    assert {one.id for one in small} < {one.id for one in large}
    assert look_sizes(["knowledge"], 100) == [64, 100]


def test_a_real_check_stops_and_says_so(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charter.cli.main import app

    monkeypatch.setenv("CHARTER_CACHE", str(tmp_path / "cache"))
    report = tmp_path / "r.json"
    done = CliRunner().invoke(
        app,
        ["regress", str(tiny_base), str(tiny_base), "--suites", "knowledge", "--limit", "80", "--stop-early",
         "--log-dir", str(tmp_path / "logs"), "--json", str(report)],
    )  # fmt: skip
    assert report.exists(), done.output
    found = json.loads(report.read_text())
    assert found["verdict"] == "pass"
    assert found["metrics"][0]["n"] == 64
    assert any("stopped early after" in note for note in found["notes"])
    assert not (tmp_path / "logs" / "base").exists()
    from charter.errors import UserError

    refused = CliRunner().invoke(app, ["regress", str(tiny_base), str(tmp_path / "logs"), "--stop-early", "--no-cache"])
    assert isinstance(refused.exception, UserError)
