"""Rewards by settings: functions, judges and reward models, alone and summed; what is missing is said at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tiny import tiny_folder

from charter.errors import UserError
from charter.judges.registry import judge
from charter.recipes.rewards import check_rewards, of_stages, reward_digest, reward_of
from charter.records import Exchange, Preference, user_prompt
from charter.training.methods import RewardSettings, train_reward
from charter.training.reward_model import RewardModel
from charter.training.reward_sources import RewardPart

ROWS = [Exchange(f"r{i}", user_prompt("How are you?"), text) for i, text in enumerate(["I cannot help.", "Well!", ""])]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's module in the folder where charter is started."""
    path = tmp_path / f"rewards_of_{tmp_path.name}.py"
    path.write_text("def length(row): return len(row.completion)\ndef odd(row): return 'much'\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    return path


def parts(*found: dict[str, Any]) -> list[RewardPart]:
    return [RewardPart.model_validate(one) for one in found]


def test_a_function_a_judge_and_their_weighted_sum(module: Path) -> None:
    length, refusal = {"function": f"{module.stem}:length", "weight": 0.5}, {"judge": "refusal", "weight": -2}
    assert [one.reward for one in reward_of(parts(length)).reward(ROWS)] == [7, 2.5, 0]
    scores = judge("refusal").score(ROWS)
    summed = reward_of(parts(length, refusal)).reward(ROWS)
    assert [one.id for one in summed] == ["r0", "r1", "r2"]
    for one, score, own in zip(summed[:2], scores[:2], (7, 2.5), strict=True):
        assert one.reward == pytest.approx(own - 2 * score.score)  # type: ignore[operator]
    assert summed[0].reward < summed[1].reward + 4.5 - 1  # type: ignore[operator]
    # The judge leaves an empty completion unscored: it has no sum, though it has a length.
    assert (summed[2].reward, summed[2].unscored) == (None, "empty completion")
    (odd,) = reward_of(parts({"function": f"{module.stem}:odd"})).reward(ROWS[:1])
    assert "'much'" in str(odd.unscored)


def test_a_reward_model_and_its_reads(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "base")
    pairs = [Preference(f"p{i}", user_prompt(f"Say {i}."), f"Yes, {i}.", f"No {i}") for i in range(4)]
    model = str(train_reward(str(base), pairs, RewardSettings(heads=3), tmp_path / "run").model)
    for read in ("mean", "worst", "penalised"):
        how = {"model": model, "read": read, **({"penalty": 0.3} if read == "penalised" else {})}
        want = RewardModel(model, read, 0.3).reward(ROWS)
        check_rewards(parts(how))
        assert [one.reward for one in reward_of(parts(how)).reward(ROWS)] == [one.reward for one in want]
    before = reward_digest(parts({"model": model}))
    shutil.rmtree(tmp_path / "run")
    single = str(train_reward(str(base), pairs, RewardSettings(), tmp_path / "run").model)
    assert single == model
    assert reward_digest(parts({"model": model})) != before
    with pytest.raises(UserError, match="has one reward head"):
        check_rewards(parts({"model": model, "read": "worst"}))
    (there,) = of_stages(parts({"stage": "reward", "read": "worst"}), {"reward": model})
    assert there == RewardPart(model=model, read="worst")


def test_a_functions_file_is_part_of_what_a_reward_is(module: Path) -> None:
    found = parts({"function": f"{module.stem}:length"})
    before = reward_digest(found)
    assert reward_digest(found) == before
    module.write_text(module.read_text() + "# more\n")
    assert reward_digest(found) != before


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"function": "nothing_of_that_name:f"}, r'module "nothing_of_that_name" cannot be imported'),
        ({"function": "MODULE:missing"}, 'has no function "missing"'),
        ({"function": "MODULE:number"}, 'has no function "number"'),
        ({"function": "MODULE"}, "is not `module:name`"),
        ({"judge": "refusl"}, 'Did you mean "refusal"'),
        ({"model": "smollm3"}, "is not a model"),
        ({"stage": "reward"}, 'no stage before this one trains a reward model by the method "reward"'),
    ],
)
def test_what_is_not_there_is_said_before_anything_runs(module: Path, part: dict[str, str], says: str) -> None:
    named = {key: value.replace("MODULE", module.stem) for key, value in part.items()}
    with pytest.raises(UserError, match=says):
        check_rewards(parts(named))


def test_a_stage_that_trains_no_reward_is_none() -> None:
    check_rewards(parts({"stage": "reward"}), ["sft", "reward"])
    with pytest.raises(UserError, match='by the method "sft"'):
        check_rewards(parts({"stage": "sft"}), ["sft", "reward"])


def test_rules_are_the_share_of_conditions_that_hold() -> None:
    texts = ["No.", "Sorry, no.", '{"a": 1}', "one two three four"]
    rows = [Exchange(str(i), user_prompt("?"), text) for i, text in enumerate(texts)]

    def rewards(**rule: Any) -> list[float | None]:
        return [one.reward for one in reward_of(parts({"rule": rule})).reward(rows)]

    assert rewards(contains="(?i)no") == [1, 1, 0, 0]
    assert rewards(lacks="^Sorry") == [1, 0, 1, 1]
    assert rewards(min_words=2, max_words=3) == [0.5, 1, 1, 0.5]
    assert rewards(json_object=True) == [0, 0, 1, 0]
    for wrong in ({}, {"contains": "("}, {"min_words": 3, "max_words": 2}, {"longest": 3}):
        with pytest.raises(ValidationError):
            RewardPart.model_validate({"rule": wrong})


def test_parts_of_a_sum_are_told_apart() -> None:
    rules: list[dict[str, Any]] = [{"rule": {"max_words": n}, "clauses": ["tone-1"]} for n in (1, 9)]
    (one,) = reward_of(parts(*rules, {"judge": "refusal"})).reward(ROWS[:1])
    assert [label for label, _ in one.parts] == ["rule tone-1 1", "rule tone-1 2", "refusal"]
    assert one.reward == pytest.approx(sum(value for _, value in one.parts))
