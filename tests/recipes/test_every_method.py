"""Every method of the catalogue: as a stage of one recipe, and as `charter train` runs it on a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from charter.errors import UserError
from charter.recipes.pipeline import align
from charter.recipes.recipe import load_recipe
from charter.recipes.single import train_single
from charter.training.catalogue import CATALOGUE, method
from charter.training.methods import AnySettings

NEEDS = {"distill": "teacher: {model}"} | dict.fromkeys(
    ("online_dpo", "grpo", "rloo", "reinforce_pp", "ppo", "best_of_n"), "reward: [{{function: 'rolling:by_length'}}]"
)
"""What a method has no default for."""
OF_PAIRS = [name for name, entry in CATALOGUE.items() if entry.reads not in ("scored", "stepwise")]
HEAD = "recipe: 1\nname: tiny\nmodel: {model}\nsuites: []\ndata: {{files: [{{path: {data}, holdout: 0.2}}]}}\ntrain:\n"


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(folder: Path) -> Path:
    words = ["rain", "snow", "hail", "wind", "fog", "sun"]
    rows = [
        {
            "prompt": f"Question {i}: what is {w}?",
            "chosen": f"It is {w}.",
            "rejected": "No",
            "chosen_safe": True,
            "rejected_safe": i % 2 == 0,
        }
        for i, w in enumerate(words)
    ]
    return write_rows(folder / "pairs.jsonl", rows)


def test_the_settings_of_every_method_are_a_recipes() -> None:
    union = get_args(get_args(AnySettings)[0])
    assert set(union) == {method(name).settings for name in CATALOGUE}
    assert {kind.model_fields["method"].default for kind in union} == set(CATALOGUE)


def needs(name: str, base: Path, separator: str) -> str:
    """What the method needs, and no watch, which has tests of its own."""
    watch = ["watch: null"] if "watch" in method(name).settings.model_fields else []
    return separator.join([*([NEEDS[name].format(model=base)] if name in NEEDS else []), *watch])


def test_one_recipe_with_every_method_as_a_stage(tmp_path: Path, tiny_base: Path) -> None:
    stages = "".join(
        f"  - {{method: {name}, batch_size: 4, lora: {{r: 2}}, {needs(name, tiny_base, ', ')}}}\n" for name in OF_PAIRS
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(HEAD.format(model=tiny_base, data=pairs(tmp_path)) + stages)
    where, _ = align(recipe, tmp_path / "run")
    trained = sorted(path.parent.name for path in where.glob("stages/*/metrics.jsonl"))
    assert len(trained) == len(OF_PAIRS)
    kto = next(where.glob("stages/*kto*/metrics.jsonl"))
    assert [json.loads(line)["step"] for line in kto.read_text().splitlines()] == [1, 2, 3]  # 5 pairs, 10 completions


@pytest.mark.parametrize("name", OF_PAIRS)
def test_train_single_on_a_file_of_pairs(name: str, tmp_path: Path, tiny_base: Path) -> None:
    config = tmp_path / "how.yaml"
    config.write_text("batch_size: 4\nlora: {r: 2}\n" + needs(name, tiny_base, "\n"))
    done = train_single(name, str(tiny_base), str(pairs(tmp_path)), tmp_path / "run", config)
    assert done.rows == (12 if CATALOGUE[name].reads == "ratings" else 6)
    assert (done.model / "adapter_config.json").exists()
    assert (done.model / "reward_head.safetensors").exists() == (CATALOGUE[name].gives == "reward")


def test_a_reward_model_stands_beside_the_policy(tmp_path: Path, tiny_base: Path) -> None:
    stages = "".join(
        f"  - {{method: {name}, batch_size: 4, lora: {{r: 2}}, {needs(name, tiny_base, ', ')}}}\n"
        for name in ("reward", "dpo", "reward")
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(HEAD.format(model=tiny_base, data=pairs(tmp_path)) + stages)
    where, _ = align(recipe, tmp_path / "run")
    (dpo,) = where.glob("stages/*dpo*/model")
    assert not (dpo / "reward_head.json").exists()
    assert json.loads((dpo / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_base)
    assert len(list(where.glob("stages/*/model/reward_head.json"))) == 2
    recipe.write_text(HEAD.format(model=tiny_base, data=pairs(tmp_path)) + "  - {method: reward}\n")
    with pytest.raises(UserError, match="no stage trains the model itself"):
        align(recipe, tmp_path / "other")


def test_train_kto_on_a_file_of_rated_completions(tmp_path: Path, tiny_base: Path) -> None:
    rows = [{"prompt": f"Say {i}.", "completion": f"It is {i}.", "label": i % 2 == 0} for i in range(5)]
    done = train_single("kto", str(tiny_base), str(write_rows(tmp_path / "rated.jsonl", rows)), tmp_path / "run", None)
    assert done.rows == 5
    with pytest.raises(UserError, match="unpaired preference"):
        train_single("dpo", str(tiny_base), str(tmp_path / "rated.jsonl"), tmp_path / "other", None)


def test_scored_completions_train_a_reward_model_in_a_recipe_and_alone(tmp_path: Path, tiny_base: Path) -> None:
    rows = [
        {"prompt": f"Why {i}?", "completion": "Because it is so" if side else "No", "score": 5 * side}
        for i in range(4)
        for side in (0, 1)
    ]
    data = write_rows(tmp_path / "scored.jsonl", rows)
    done = train_single("reward_pointwise", str(tiny_base), str(data), tmp_path / "alone", None)
    assert done.rows == 8
    recipe = tmp_path / "recipe.yaml"
    head = HEAD.format(model=tiny_base, data=data).replace(", holdout: 0.2", "")
    recipe.write_text(head + "  - {method: reward_pointwise}\n  - {method: dpo, lora: {r: 2}, watch: null}\n")
    where, _ = align(recipe, tmp_path / "run")
    (result,) = (json.loads(path.read_text()) for path in where.glob("stages/*pointwise*/model/reward_head.json"))
    assert (result["scale"], result["shift"]) == (2.5, 2.5)
    stages = "  - {method: reward_pointwise}\n  - {method: dpo}\n"
    recipe.write_text(HEAD.format(model=tiny_base, data=pairs(tmp_path)) + stages)
    with pytest.raises(UserError, match="needs scored completions"):
        align(recipe, tmp_path / "other")


def test_labelled_steps_train_a_process_reward_model_in_a_recipe_and_alone(tmp_path: Path, tiny_base: Path) -> None:
    rows = [
        {"prompt": f"Why {i}?", "completions": ["Because", "it is so"], "labels": [True, i % 2 == 0]} for i in range(4)
    ]
    data = write_rows(tmp_path / "steps.jsonl", rows)
    done = train_single("reward_process", str(tiny_base), str(data), tmp_path / "alone", None)
    assert done.rows == 4
    recipe = tmp_path / "recipe.yaml"
    both = HEAD.format(model=tiny_base, data=data).replace(", holdout: 0.2}", "}, {path: " + str(pairs(tmp_path)) + "}")
    online = (
        "  - {method: online_dpo, sample_tokens: 8, lora: {r: 2}, watch: null, reward: [{stage: reward_process}]}\n"
    )
    recipe.write_text(
        both + "  - {method: reward_process, whole: mean}\n  - {method: dpo, lora: {r: 2}, watch: null}\n" + online
    )
    where, _ = align(recipe, tmp_path / "run")
    (file,) = where.glob("stages/*online_dpo/samples.jsonl")
    assert len({json.loads(line)["id"] for line in file.read_text().splitlines()}) == 6 + 4
    (result,) = (json.loads(path.read_text()) for path in where.glob("stages/*process*/model/reward_head.json"))
    assert result["steps"] == {"separator": "\n", "whole": "mean", "chances": True}
    stages = "  - {method: reward_process}\n  - {method: dpo}\n"
    recipe.write_text(HEAD.format(model=tiny_base, data=pairs(tmp_path)) + stages)
    with pytest.raises(UserError, match="needs completions in labelled steps"):
        align(recipe, tmp_path / "other")
    with pytest.raises(UserError, match="which give completions in labelled steps, not preference pairs"):
        train_single("dpo", str(tiny_base), str(data), tmp_path / "third", None)


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("{method: ipo_men}", 'Did you mean "ipo_mean"'),
        ("{method: ipo, label_smoothing: 0.1}", "label_smoothing: unknown key"),
        ("{method: kto, desirable_wieght: 2}", 'Did you mean "desirable_weight"'),
        ("{method: sft, kl_top_k: 8}", "kl_top_k does nothing without a kl_weight"),
        ("{method: distill}", "teacher: is missing"),
        ("{method: dpo, length_desensitisation: 1.5}", "length_desensitisation"),
    ],
)
def test_wrong_stages_are_named(tmp_path: Path, stage: str, says: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(HEAD.format(model="smollm2", data="pairs.jsonl") + f"  - {stage}\n")
    with pytest.raises(UserError, match=says) as error:
        load_recipe(recipe)
    assert "line 7" in str(error.value)


def test_a_recipe_of_prompts_alone_and_a_reward_model_of_its_own(tmp_path: Path, tiny_base: Path) -> None:
    asked = write_rows(
        tmp_path / "asked.jsonl", [{"messages": [{"role": "user", "content": f"Q{i}?"}]} for i in (1, 2)]
    )
    head = f"recipe: 1\nname: t\nmodel: {tiny_base}\nsuites: []\n"
    head += f"data: {{{{files: [{{{{path: {asked}}}}}{{more}}]}}}}\ntrain:\n"
    stage = (
        "  - {{method: online_dpo, batch_size: 4, sample_tokens: 8, lora: {{r: 2}}, watch: null, reward: [{{{0}}}]}}\n"
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(head.format(more="") + stage.format("function: 'rolling:by_length'"))
    where, _ = align(recipe, tmp_path / "run")
    (file,) = where.glob("stages/*online_dpo/samples.jsonl")
    assert {json.loads(line)["id"] for line in file.read_text().splitlines()} == {"asked-1", "asked-2"}

    recipe.write_text(head.format(more="") + "  - {method: sft}\n" + stage.format("function: 'rolling:by_length'"))
    with pytest.raises(UserError, match="sft needs completions to imitate"):
        align(recipe, tmp_path / "other")

    reward = "  - {method: reward, heads: 2, lora: {r: 2}}\n"
    more = f", {{path: {pairs(tmp_path)}}}"
    recipe.write_text(head.format(more=more) + reward + stage.format("stage: reward, read: worst"))
    where, _ = align(recipe, tmp_path / "both")
    (file,) = where.glob("stages/*online_dpo/samples.jsonl")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({row["id"] for row in samples}) == 8
    assert len({row["reward"] for row in samples}) > 8

    recipe.write_text(head.format(more=more) + stage.format("stage: reward") + reward)
    with pytest.raises(UserError, match="no stage before this one trains a reward model"):
        align(recipe, tmp_path / "late")
    recipe.write_text(head.format(more=more) + stage.format("judg: refusal"))
    with pytest.raises(UserError, match=r'judg: unknown key. Did you mean "judge"'):
        load_recipe(recipe)
