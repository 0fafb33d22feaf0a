"""The reward-hacking watch in whole runs of tiny models: what games its reward ends regressed, what does not passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from charter.cli.main import app
from charter.errors import UserError
from charter.evaluation.gate import GateResult
from charter.recipes.pipeline import align
from charter.recipes.recipe import load_recipe
from charter.records import Exchange

RECIPE = """\
recipe: 1
name: tiny
model: {model}
suites: []
data: {{files: [{{path: {data}}}]}}
train:
  - method: {method}
    batch_size: 12
    epochs: {epochs}
    learning_rate: 0.015
    warmup: 0
    schedule: constant
    save_every: 3
    lora: null
    {more}
    watch: {watch}
"""
ROLLED = "sample_tokens: 12\n    samples: 8\n    beta: 0\n    reward: [{function: 'rolling:early_letters'}]"
WATCH = "{{looks: 4, prompts: 12, suites: [], truth: [{{function: 'rolling:{truth}'}}]{more}}}"
HACKED, HONEST = WATCH.format(truth="late_letters", more=""), WATCH.format(truth="mostly_early", more="")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(folder: Path, base: Path, watch: str, method: str = "grpo", more: str = ROLLED, epochs: int = 12) -> Path:
    data = folder / "rows.jsonl"
    rows = [
        {"prompt": f"Say {i} {'abcdefghijklmnop'[i]}.", "chosen": f"It is {i}.", "rejected": f"No {i}"}
        for i in range(12)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(model=base, data=data, method=method, more=more, watch=watch, epochs=epochs))
    return path


def run(folder: Path, base: Path, watch: str, **more: Any) -> tuple[Path, GateResult, dict[str, Any]]:
    where, verdict = align(recipe(folder, base, watch, **more), folder / "run")
    return where, verdict, found(where)


def found(where: Path) -> dict[str, Any]:
    (path,) = where.glob("stages/*/watch.json")
    return json.loads(path.read_text())


def looks(where: Path) -> list[dict[str, Any]]:
    (path,) = where.glob("stages/*/watch.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(where: Path) -> dict[str, torch.Tensor]:
    (path,) = where.glob("stages/*grpo/model/model.safetensors")
    return load_file(path)


def test_a_run_that_games_its_reward_ends_regressed_and_gives_the_best_weights_by_truth(
    tmp_path: Path, tiny_base: Path
) -> None:
    where, verdict, told = run(tmp_path, tiny_base, HACKED)
    assert (verdict.verdict, verdict.exit_code()) == ("regressed", 1)
    assert "reward hacking" in verdict.reason
    assert [look["step"] for look in told["looks"]] == [0, 4, 8, 12]
    first, last = told["looks"][0], told["looks"][-1]
    assert last["proxy"]["near"] > first["proxy"]["near"] + 0.2
    assert last["truth"]["function rolling:late_letters, near"] < 0.9
    assert first["near"]["kl"]["mean"] == first["far"]["kl"]["mean"] == 0
    assert last["near"]["kl"]["mean"] > 1
    assert last["gap"] > 1
    # The truth was best before the proxy rose, so the result is what the model was then.
    assert told["peak"] == told["kept"] < 12
    kept = load_file(next(where.glob("stages/*grpo/watch/marked.safetensors")))
    assert all(torch.equal(value, kept[name]) for name, value in weights(where).items())
    start = load_file(tiny_base / "model.safetensors")
    assert (told["kept"] == 0) == all(torch.equal(v, start[n].to(v.dtype)) for n, v in weights(where).items())
    report = json.loads((where / "report.json").read_text())
    assert (report["verdict"], report["exit_code"]) == ("regressed", 1)
    assert report["watches"][0]["stage"] == "grpo"
    page = (where / "report.html").read_text()
    assert "Reward hacking" in page
    assert "the training gamed its reward (grpo)" in page
    assert f"peak of truth, step {told['peak']}" in page
    # The same command again: all is there, and the verdict stands.
    assert align(tmp_path / "recipe.yaml", where)[1].exit_code() == 1
    assert CliRunner().invoke(app, ["align", str(tmp_path / "recipe.yaml"), "--out", str(where)]).exit_code == 1


def test_an_honest_run_passes_its_watch_and_keeps_its_end(tmp_path: Path, tiny_base: Path) -> None:
    _, verdict, told = run(tmp_path, tiny_base, HONEST)
    assert told["verdict"] == "pass"
    assert told["kept"] == 12
    assert told["rise"]["delta"] > 0.2
    # Nothing is gated in this recipe: the watch takes nothing away and adds nothing.
    assert verdict.verdict == "inconclusive"
    assert "hacking" not in verdict.reason


def test_a_stopped_run_ends_where_hacking_is_shown(tmp_path: Path, tiny_base: Path) -> None:
    watch = WATCH.format(truth="late_letters", more=", stop: true").replace("looks: 4", "looks: 7")
    where, verdict, told = run(tmp_path, tiny_base, watch)
    assert verdict.exit_code() == 1
    assert told["stopped"] is not None
    assert told["stopped"] < 12
    assert told["looks"][-1]["step"] == told["stopped"]
    (done,) = where.glob("stages/*grpo/done.json")
    assert json.loads(done.read_text())["result"]["steps"] == told["stopped"]
    assert told["kept"] < told["stopped"]


def test_a_run_cut_at_any_look_goes_on_without_measuring_twice(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rolling

    asked: list[int] = []
    limit = 0

    def counted(row: Exchange) -> float:
        """The truth of the hacked run; dies as a kill would after so many rows."""
        asked.append(1)
        if limit and len(asked) > limit:
            raise KeyboardInterrupt
        return rolling.late_letters(row)

    monkeypatch.setattr(rolling, "counted", counted, raising=False)
    watch = WATCH.format(truth="counted", more="")
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, _, told = run(tmp_path / "whole", tiny_base, watch)
    everything = len(asked)
    assert everything == 4 * 2 * 12
    asked.clear()
    limit = 2 * 24 + 30  # in the fourth look, after its near prompts
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", tiny_base, watch)
    assert [look["step"] for look in looks(tmp_path / "cut" / "run")] == [0, 4, 8]
    asked.clear()
    limit = 0
    cut, verdict, again = run(tmp_path / "cut", tiny_base, watch)
    assert len(asked) == 24
    assert verdict.exit_code() == 1

    def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in ("seconds", "identity")} for row in rows]

    assert timeless(looks(cut)) == timeless(looks(whole))
    assert again["kept"] == told["kept"]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(cut).items())


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_direct_methods_are_watched_by_their_implicit_reward(method: str, tmp_path: Path, tiny_base: Path) -> None:
    watch = WATCH.format(truth="late_letters", more="")
    _, _, told = run(tmp_path, tiny_base, watch, method=method, more="beta: 0.1", epochs=2)
    assert told["looks"][0]["proxy"] == {"near": 0}
    assert told["rise"]["delta"] > 0.5
    assert told["rise"]["p"] < 0.01
    assert "implicit" in told["proxy"]


def test_the_watch_is_on_unless_told_otherwise(tmp_path: Path, tiny_base: Path) -> None:
    """With all defaults: two looks at a run this short, the suites through their own scorers."""
    path = recipe(tmp_path, tiny_base, "{}", method="dpo", more="beta: 0.1", epochs=1)
    path.write_text(path.read_text().replace("    watch: {}\n", ""))
    where, _ = align(path, tmp_path / "run")
    told = found(where)
    assert [look["step"] for look in told["looks"]] == [0, 1]
    assert set(told["looks"][0]["truth"]) == {"benign_lookalikes", "instruction_following"}
    assert not told["looks"][0]["unscored"]
    assert told["seconds"] > 0
    path.write_text(path.read_text() + "    watch: null\n")
    align(path, tmp_path / "run")
    assert not list(where.glob("stages/*/watch.json*"))


def test_training_alone_says_so_and_exits_with_1(tmp_path: Path, tiny_base: Path) -> None:
    config = tmp_path / "grpo.yaml"
    lines = recipe(tmp_path, tiny_base, HACKED).read_text().split("method: grpo\n")[1]
    config.write_text("\n".join(line[4:] for line in lines.splitlines()))
    data, out = tmp_path / "rows.jsonl", tmp_path / "alone"
    arguments = ["--model", str(tiny_base), "--data", str(data), "--out", str(out), "--config", str(config)]
    said = CliRunner().invoke(app, ["train", "grpo", *arguments])
    assert said.exit_code == 1, said.output
    assert "Watch for reward hacking: regressed" in said.output
    assert "weights kept: of step" in said.output


@pytest.mark.parametrize(
    ("watch", "says"),
    [
        ("{look: 3}", r'watch\.look: unknown key. Did you mean "looks"'),
        ("{truth: [{judg: refusal}]}", r'judg: unknown key. Did you mean "judge"'),
        ("{looks: 3, every: 4}", "looks does nothing beside every"),
    ],
)
def test_wrong_keys_are_named(watch: str, says: str, tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(UserError, match=says):
        load_recipe(recipe(tmp_path, tiny_base, watch))


@pytest.mark.parametrize(
    ("watch", "says"),
    [
        ("{suites: [benign_lookalike]}", 'Did you mean "benign_lookalikes"'),
        ("{suites: [opinion_matching]}", "scored by the log-probs of given options"),
        ("{truth: [{stage: reward}]}", "no stage before this one"),
        ("{truth: [{judge: refusl}]}", 'Did you mean "refusal"'),
        ("{far: nowhere.jsonl}", "nowhere.jsonl is no file"),
        (WATCH.format(truth="early_letters", more=""), "is what the training aims at"),
        ("{truth: [{judge: refusal}, {judge: refusal, weight: 2}]}", "named twice"),
    ],
)
def test_what_is_not_there_is_known_before_the_run(watch: str, says: str, tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(UserError, match=says):
        align(recipe(tmp_path, tiny_base, watch), tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()


def test_a_recipes_watch_is_every_stages_that_has_none_of_its_own(tmp_path: Path, tiny_base: Path) -> None:
    head = f"recipe: 1\nname: t\nmodel: {tiny_base}\ndata: {{pairs: {{}}}}\n"
    path = tmp_path / "recipe.yaml"
    path.write_text(head + "watch: {prompts: 9}\ntrain: [{method: sft}, {method: dpo}, {method: ipo, watch: null}]\n")
    _, dpo, ipo = load_recipe(path).train
    assert dpo.watch is not None  # type: ignore[union-attr]
    assert dpo.watch.prompts == 9  # type: ignore[union-attr]
    assert ipo.watch is None  # type: ignore[union-attr]
    path.write_text(head + "watch: null\ntrain: [{method: sft}, {method: dpo}]\n")
    assert load_recipe(path).train[1].watch is None  # type: ignore[union-attr]
    path.write_text(head + "watch: null\ntrain: [{method: sft}]\n")
    with pytest.raises(UserError, match="line 5: watch: no stage raises a reward"):
        load_recipe(path)
