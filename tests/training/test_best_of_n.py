"""Best of n: which sample is chosen, what is written of it, what is trained, and going on after a kill."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, early_letters, reward_from
from safetensors.torch import load_file
from tiny import tiny_folder

from charter.errors import UserError
from charter.records import Exchange, demonstration_from
from charter.training.methods.best_of_n import Best, BestOfNSettings, best_of, kept, summary, train_best_of_n
from charter.training.rollouts import Rollout, Sample


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model", max_position_embeddings=256)


def settings(**values: Any) -> BestOfNSettings:
    how = {"batch_size": 4, "sample_tokens": 8, "samples": 3, "lora": {"r": 4, "alpha": 8}, **values}
    return BestOfNSettings.model_validate({"reward": [{"function": "rolling:by_length"}], **how})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def sample(reward: float | None, *tokens: int) -> Sample:
    return Sample(f"t{tokens}", tokens, (-1.0,) * len(tokens), True, reward, None if reward is not None else "no")


def test_the_best_is_the_first_of_equals_and_unscored_ones_are_in_no_mean() -> None:
    found = best_of(Rollout("a", (1,), (sample(1, 5), sample(None, 6), sample(3, 7), sample(3, 8), sample(-3, 9))))
    assert (found.tokens, found.reward, found.mean, found.scored) == ((7,), 3, 1, 4)
    assert best_of(Rollout("b", (1,), (sample(None, 5),))) == Best("b", unscored="no")


def test_the_kl_bound_is_of_as_many_samples_as_were_scored() -> None:
    found = [Best("a", reward=2, mean=1, scored=4), Best("b", reward=0, mean=-1, scored=1), Best("c", unscored="no")]
    told = summary(found, 4)
    assert told["kl_bound"] == pytest.approx((math.log(4) - 3 / 4 + 0) / 2)
    assert (told["reward"], told["best_reward"], told["prompts"], told["unscored_prompts"]) == (0, 1, 3, 1)
    assert "kl_bound" not in summary(found[2:], 4)
    good, dropped = kept(found, 1.0)
    assert [one.key for one in good] == ["a"]
    assert dropped == {"no sample got a reward": 1, "best reward below 1.0": 1}


def test_demonstrations_are_the_best_samples_and_are_what_is_trained(base: Path, tmp_path: Path) -> None:
    done = train_best_of_n(str(base), PROMPTS, settings(), tmp_path, reward_from(early_letters))
    samples = lines(tmp_path / "samples.jsonl")
    found = [demonstration_from(row) for row in lines(tmp_path / "demonstrations.jsonl")]
    assert done.rows == len(found) == 6
    for one in found:
        own = [row for row in samples if row["id"] == one.id]
        best = max(own, key=lambda row: row["reward"])
        assert (one.completion, one.finished) == (best["text"], best["finished"])
    told = json.loads((tmp_path / "best_of_n.json").read_text())
    assert told["kl_bound"] == pytest.approx(math.log(3) - 2 / 3)
    assert told["best_reward"] > told["reward"]
    tokens = sum(row["tokens"] for row in lines(tmp_path / "metrics.jsonl"))
    best_tokens = sum(len(row["tokens"]) for row in lines(tmp_path / "best.jsonl"))
    assert tokens > best_tokens > 0


def test_fine_tuning_on_the_best_raises_the_reward(base: Path, tmp_path: Path) -> None:
    how = settings(samples=12, sample_tokens=16, lora=None, learning_rate=5e-3, epochs=15, batch_size=6)
    first = train_best_of_n(str(base), PROMPTS, how, tmp_path / "1", reward_from(early_letters))
    train_best_of_n(str(first.model), PROMPTS, how, tmp_path / "2", reward_from(early_letters))
    before, after = (json.loads((tmp_path / n / "best_of_n.json").read_text())["reward"] for n in "12")
    assert after > 1.3 * before


def test_a_killed_run_samples_only_what_is_missing_and_ends_the_same(base: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(row: Exchange) -> float:
        asked.append(row.id)
        return early_letters(row)

    torch.set_num_threads(1)
    whole = train_best_of_n(str(base), PROMPTS, settings(), tmp_path / "whole", reward_from(counted))
    assert len(asked) == 18
    best = (tmp_path / "whole" / "best.jsonl").read_text().splitlines(keepends=True)
    half = tmp_path / "half"
    half.mkdir()
    for name in ("sampling.json", "samples.jsonl"):
        (half / name).write_text((tmp_path / "whole" / name).read_text())
    # The first batch of four, one line of the second and half another.
    (half / "best.jsonl").write_text("".join(best[:5]) + best[5][:9])
    asked.clear()
    resumed = train_best_of_n(str(base), PROMPTS, settings(), half, reward_from(counted))
    assert len(asked) == 6
    for name in ("best.jsonl", "samples.jsonl", "demonstrations.jsonl"):
        assert (half / name).read_text() == (tmp_path / "whole" / name).read_text()
    weights = [load_file(one.model / "adapter_model.safetensors") for one in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(UserError, match="other data or settings"):
        train_best_of_n(str(base), PROMPTS, settings(temperature=0.5), half, reward_from(counted))
