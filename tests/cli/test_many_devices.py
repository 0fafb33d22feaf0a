"""The command under torchrun: two processes, one voice, the files of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from together import together

CHARTER = ("-m", "charter.cli.main")
RECIPE = """\
recipe: 1
name: tiny
model: {model}
suites: []
data:
  files:
    - path: {data}
      holdout: 0.25
train:
  - {{method: sft, batch_size: 4, learning_rate: 0.001, lora: null}}
  - {{method: dpo, batch_size: 4, learning_rate: 0.001, lora: {{r: 2}}}}
"""


def write_pairs(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    rows = [{"prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": f"No {i}"} for i in range(14)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_train_and_what_it_says(tmp_path: Path, tiny_base: Path) -> None:
    from charter.models.loading import load_model

    data, out = write_pairs(tmp_path), tmp_path / "out"
    ended = together(2, *CHARTER, "train", "dpo", "--model", str(tiny_base), "--data", str(data), "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Trained on 14 rows in 1 steps") == 1
    assert ended.stderr.count("DPO: 1/1 steps") == 1
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 1
    assert load_model(str(out / "model")).digest != load_model(str(tiny_base)).digest


@pytest.mark.slow
def test_a_reward_model_is_saved_whole_and_read_by_one_process(tmp_path: Path, tiny_base: Path) -> None:
    from charter.records import Exchange, user_prompt
    from charter.training.reward_model import RewardModel

    data, config = write_pairs(tmp_path), tmp_path / "how.yaml"
    config.write_text("heads: 3\nepochs: 8\nlearning_rate: 0.01\nbatch_size: 7\nlora: {r: 4}\n")
    train = [*CHARTER, "train", "reward", "--model", str(tiny_base), "--data", str(data), "--config", str(config)]
    ended = together(2, *train, "--out", str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    shapes = {name: tuple(t.shape) for name, t in load_file(tmp_path / "two/model/reward_head.safetensors").items()}
    assert shapes == {"weight": (3, shapes["weight"][1])}
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    asked = [Exchange(side, user_prompt(row["prompt"]), row[side]) for row in rows for side in ("chosen", "rejected")]
    found = RewardModel(str(tmp_path / "two/model")).reward(asked)
    assert [len(one.heads) for one in found] == [3] * 28
    right = [a.reward > b.reward for a, b in zip(found[0::2], found[1::2], strict=True) if a.reward and b.reward]
    (*_, last) = (json.loads(line) for line in (tmp_path / "two/metrics.jsonl").read_text().splitlines())
    assert last["accuracy"] == 1.0
    assert right == [True] * 14


@pytest.mark.slow
def test_a_distillation_shares_its_teacher(tmp_path: Path, tiny_base: Path) -> None:
    data, config = write_pairs(tmp_path), tmp_path / "how.yaml"
    config.write_text(f"teacher: {tiny_base}\ncompletions: teacher\nsample_tokens: 9\ntop_k: 5\nlora: {{r: 2}}\n")
    train = [*CHARTER, "train", "distill", "--model", str(tiny_base), "--data", str(data), "--config", str(config)]
    ended = together(2, *train, "--out", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("teacher's answers: 0/14") == ended.stderr.count("teacher's log-probs: 0/14") == 1
    assert len(list((tmp_path / "out" / "teacher").iterdir())) == 2
    (only,) = (json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines())
    assert only["kl"] == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_align_to_its_report(tmp_path: Path, tiny_base: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=tiny_base, data=write_pairs(tmp_path)))
    ended = together(2, *CHARTER, "align", str(recipe), "--out", str(tmp_path / "run"))
    # Few held-out pairs prove nothing: the first process ends with 3, which torchrun makes 1.
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.count("inconclusive:") == ended.stdout.count("Report:") == 1, ended.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["data", "sft", "dpo", "preferences"]


@pytest.mark.slow
def test_a_verb_that_cannot_share_says_so_once(tmp_path: Path) -> None:
    ended = together(2, *CHARTER, "lint", str(tmp_path / "charter.yaml"))
    assert ended.returncode != 0
    assert ended.stderr.count("`charter lint` runs in one process, and torchrun started 2.") == 1
    assert "train and align can share" in ended.stderr
