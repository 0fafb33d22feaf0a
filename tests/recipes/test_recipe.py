"""recipe.yaml: what is wrong is named by file, line and key, with the nearest right name."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from charter.errors import UserError
from charter.recipes.preflight import check_recipe, check_trainable
from charter.recipes.recipe import Recipe, load_recipe

GOOD = """\
recipe: 1
name: small
model: smollm2
seed: 7
suites: [harmful_requests]
data:
  pairs:
    limit: 3
  contrast:
    prompts: 2
  files:
    - path: a.jsonl
      limit: 5
train:
  - method: sft
    epochs: 2
    lora:
      r: 4
  - method: dpo
    beta: 0.2
    seed: 3
gate:
  harmful_refused: {min_gain: 0.0}
"""


def load(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(textwrap.dedent(text))
    return load_recipe(path)


def test_the_recipes_seed_reaches_the_stages_that_name_none(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD)
    assert [stage.seed for stage in recipe.train] == [7, 3]
    assert [stage.method for stage in recipe.train] == ["sft", "dpo"]
    assert recipe.train[0].lora is not None
    assert recipe.train[0].lora.r == 4


def test_the_shipped_recipes_load() -> None:
    shipped = [
        path for name in ("recipe", "endpoint") for path in Path(__file__).parents[2].glob(f"examples/*/{name}.yaml")
    ]
    assert len(shipped) >= 4
    for path in shipped:
        assert load_recipe(path).train


WRONG: dict[str, tuple[str, str, list[str]]] = {
    # (line of GOOD to replace, its replacement, what the message says)
    "unknown key at the top": ("seed: 7", "sed: 7", ["line 4: sed", '"seed"']),
    "unknown key in pairs": ("    limit: 3", "    limmit: 3", ["line 8: data.pairs.limmit", '"limit"']),
    "unknown key in contrast": ("    prompts: 2", "    promts: 2", ["line 10: data.contrast.promts", '"prompts"']),
    "unknown key in files": ("      limit: 5", "      holdot: 0.1", ["line 13: data.files.0.holdot", '"holdout"']),
    "unknown key in data": ("  contrast:", "  contrats:", ["line 9: data.contrats", '"contrast"']),
    "unknown key in sft": ("    epochs: 2", "    epoch: 2", ["line 16: train.0.epoch", '"epochs"']),
    "a key of dpo in sft": ("    epochs: 2", "    beta: 0.1", ["line 16: train.0.beta", "unknown key"]),
    "unknown key in lora": ("      r: 4", "      dropuot: 0.1", ["line 18: train.0.lora.dropuot", '"dropout"']),
    "unknown key in dpo": ("    beta: 0.2", "    betta: 0.2", ["line 20: train.1.betta", '"beta"']),
    "unknown key in gate": (
        "  harmful_refused: {min_gain: 0.0}",
        "  harmful_refused: {min_gian: 0.0}",
        ["line 23: gate.harmful_refused.min_gian", '"min_gain"'],
    ),
    "nothing asked in gate": (
        "  harmful_refused: {min_gain: 0.0}",
        "  harmful_refused: {}",
        ["line 23: gate.harmful_refused", "give margin"],
    ),
    "wrong type": ("    epochs: 2", "    epochs: many", ["line 16: train.0.epochs", "'many'"]),
    "out of range": ("    epochs: 2", "    epochs: 0", ["line 16: train.0.epochs", "greater than or equal to 1"]),
    "wrong type in a union": ("      r: 4", "      targets: 5", ["line 18: train.0.lora.targets:"]),
    "wrong item": ("suites: [harmful_requests]", "suites: [[1]]", ["line 5: suites.0"]),
    "wrong kind": ("    limit: 3", "    kinds: [harmfull]", ["line 8: data.pairs.kinds.0", '"harmful"']),
    "unknown method": ("  - method: dpo", "  - method: dpoo", ["line 19: train.1", '"dpo"', "Methods: sft, "]),
    "no method": ("  - method: sft", "  - batch_size: 2", ["line 15: train.0: has no method", "one of sft, "]),
    "missing model": ("model: smollm2", "", ["model: is missing", "line 1"]),
    "missing path": ("    - path: a.jsonl", "    - split: train", ["line 12: data.files.0.path: is missing"]),
    "unusable name": ("name: small", "name: ../up", ["line 2: name"]),
    "another version": ("recipe: 1", "recipe: 2", ["line 1: recipe"]),
    "no training": ("train:", "train: []\nx-train:", ["train"]),
}


@pytest.mark.parametrize(("old", "new", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_recipe_names_file_line_and_nearest_name(tmp_path: Path, old: str, new: str, says: list[str]) -> None:
    assert f"{old}\n" in GOOD
    with pytest.raises(UserError) as caught:
        load(tmp_path, GOOD.replace(f"{old}\n", f"{new}\n", 1))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}, line ")
    for part in says:
        assert part in message, message
    assert "\n" not in message


def test_a_mistake_in_the_only_stage_is_not_called_a_missing_stage(tmp_path: Path) -> None:
    text = "recipe: 1\nname: a\nmodel: smollm2\ndata: {pairs: {}}\ntrain:\n  - method: sft\n    epoch: 1\n"
    with pytest.raises(UserError, match=r'line 7: train\.0\.epoch: unknown key\. Did you mean "epochs"'):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"), [("", "mapping"), ("- 1", "mapping"), ("a: [1", "line 1"), ("a: 1\na: 2", "line 2")]
)
def test_what_is_no_recipe_at_all(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("suites: [harmful_requests]", "suites: [harmful_request]", '"harmful_requests"'),
        ("  harmful_refused: {min_gain: 0.0}", "  harmful_refusd: {min_gain: 0.0}", '"harmful_refused"'),
        ("  harmful_refused: {min_gain: 0.0}", "  knowledge: {margin: 0.1}", "which `suites` does not name"),
        ("    - path: a.jsonl", "    - path: ./nothing.jsonl", "nothing.jsonl: no such file"),
        ("model: smollm2", "model: openai:http://127.0.0.1:9/v1#m", "endpoint"),
        ("model: smollm2", "model: ./no/such/folder", "no such folder"),
    ],
)
def test_what_a_later_stage_would_fail_on_is_said_first(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    text = GOOD.replace(f"{old}\n", f"{new}\n", 1).replace("path: a.jsonl", f"path: {tmp_path}/a.jsonl")
    recipe = load(tmp_path, text)
    with pytest.raises(UserError) as caught:
        check_recipe(recipe)
    assert says in str(caught.value)


def test_no_source_of_data_is_said_first(tmp_path: Path) -> None:
    text = "recipe: 1\nname: a\nmodel: smollm2\ndata: {}\ntrain: [{method: sft}]\n"
    with pytest.raises(UserError, match="names no source"):
        check_recipe(load(tmp_path, text))


def test_suite_and_metric_may_be_named_together(tmp_path: Path, tiny_base: Path) -> None:
    text = GOOD.replace("  harmful_refused:", "  harmful_requests/harmful_refused:").replace("smollm2", str(tiny_base))
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    check_recipe(load(tmp_path, text.replace("path: a.jsonl", f"path: {tmp_path}/a.jsonl")))


def test_a_folder_without_weights_is_no_model(tmp_path: Path, tiny_base: Path) -> None:
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((tiny_base / file).read_bytes())
    with pytest.raises(UserError, match="no weights"):
        check_trainable(str(tmp_path))
    check_trainable(str(tiny_base))
