"""An unchanged model costs nothing the second time: not one completion is generated, and nothing is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.evaluation import named
from charter.evaluation.named import NamedModel
from charter.evaluation.results import read_outcomes
from charter.evaluation.runner import evaluate
from charter.models.generation.engine import Engine
from charter.records import Sampling


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Generated tokens and loads, counted at the engine and at the loader."""
    monkeypatch.setenv("CHARTER_CACHE", str(tmp_path / "cache"))
    counts = {"steps": 0, "loads": 0}
    step, load = Engine.step, named.load_model

    def stepping(self: Engine) -> object:
        counts["steps"] += 1
        return step(self)

    def loading(name: str) -> object:
        counts["loads"] += 1
        return load(name)

    monkeypatch.setattr(Engine, "step", stepping)
    monkeypatch.setattr(named, "load_model", loading)
    return counts


def test_the_second_run_generates_nothing(tiny_base: Path, tmp_path: Path, counted: dict[str, int]) -> None:
    first = NamedModel(str(tiny_base))
    one = evaluate(first, ["knowledge", "instruction_following"], tmp_path / "a", limit=10)
    assert first.asked == 20
    assert counted["steps"] > 0
    assert counted["loads"] == 1
    counted.update(steps=0, loads=0)
    # Another folder: no finished log is there, so the suites run again, on what was said before.
    second = NamedModel(str(tiny_base))
    two = evaluate(second, ["knowledge", "instruction_following"], tmp_path / "b", limit=10)
    assert second.asked == 0
    assert counted == {"steps": 0, "loads": 0}
    assert read_outcomes(one) == read_outcomes(two)
    third = NamedModel(str(tiny_base))
    evaluate(third, ["knowledge"], tmp_path / "c", limit=16)
    assert 0 < third.asked <= 16
    fourth = NamedModel(str(tiny_base), cached=False)
    evaluate(fourth, ["knowledge"], tmp_path / "d", limit=10)
    assert fourth.asked == 10


def test_regress_on_the_command_line_says_so(tiny_base: Path, tmp_path: Path, counted: dict[str, int]) -> None:
    from charter.cli.main import app

    def regress(folder: str, *more: str) -> tuple[dict[str, object], str]:
        report = tmp_path / f"{folder}.json"
        done = CliRunner().invoke(
            app,
            ["regress", str(tiny_base), str(tiny_base), "--suites", "knowledge", "--limit", "12", "--log-dir",
             str(tmp_path / folder), "--json", str(report), *more],
        )  # fmt: skip
        assert report.exists(), done.output
        return json.loads(report.read_text()), done.stderr

    before, _ = regress("one")
    counted.update(steps=0, loads=0)
    after, said = regress("two")
    assert counted == {"steps": 0, "loads": 0}
    assert "12 of 12 answers were there already" in said
    assert after["metrics"] == before["metrics"]
    regress("three", "--no-cache")
    assert counted["steps"] > 0


def test_a_sampled_answer_is_kept_by_its_seed(tiny_base: Path, counted: dict[str, int]) -> None:
    from charter.evaluation.named import RememberingWorker
    from charter.records import user_prompt

    model = NamedModel(str(tiny_base))
    worker = RememberingWorker(model)
    try:
        drawn = [worker.submit(user_prompt("Hi"), Sampling(6, 1.0, seed=s)).result(60) for s in (1, 1, 2)]
    finally:
        worker.close()
    assert model.asked == 2
    assert drawn[0] == drawn[1] != drawn[2]
    assert counted["loads"] == 1
