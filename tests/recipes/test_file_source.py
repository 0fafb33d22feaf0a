"""Data files of any shape in recipes and in `charter train`: what each stage gets, and what is refused beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.judges.registry import judge
from charter.recipes.data_stage import build_data
from charter.recipes.file_source import read_file, source_digest
from charter.recipes.preflight import check_recipe
from charter.recipes.recipe import FileSource, Recipe, load_recipe
from charter.recipes.single import train_single
from charter.recipes.voices import Voices

PAIR = {"prompt": "Say rain.", "chosen": "It is rain.", "rejected": "No"}
ALPACA = {"instruction": "Say snow.", "input": "", "output": "It is snow."}
SCORED = [{"prompt": "Say hail.", "response": text, "score": len(text)} for text in ("It is hail.", "No")]


def write(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_of(folder: Path, base: Path, methods: str, *sources: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(
        f"recipe: 1\nname: small\nmodel: {base}\nsuites: []\n"
        f"data: {{files: [{', '.join(sources)}]}}\ntrain: [{methods}]\n"
    )
    return load_recipe(path)


SHORT = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]}]
SFT, DPO = "{method: sft}", "{method: dpo}"


def gathered(folder: Path, recipe: Recipe) -> dict[str, Any]:
    from charter.document import STARTER, load_charter

    return build_data(recipe, load_charter(STARTER), Voices(recipe, folder / "data"), judge("refusal"), folder / "data")


def test_files_of_different_shapes_meet_in_one_recipe(tmp_path: Path, tiny_base: Path) -> None:
    # The same id twice: each file may have a row of that name.
    first = write(tmp_path, {**PAIR, "id": 1}, name="a.jsonl")
    second = write(tmp_path, {**ALPACA, "id": 1}, {"instruction": "Say fog.", "output": "Fog."}, name="b.jsonl")
    recipe = recipe_of(tmp_path, tiny_base, f"{SFT}, {DPO}", f"{{path: {first}}}", f"{{path: {second}}}")
    check_recipe(recipe)
    found = gathered(tmp_path, recipe)
    assert (found["preferences"], found["demonstrations"]) == (1, 3)
    assert found["counts"] == {"a.jsonl: pairs": 1, "b.jsonl: demonstrations": 2}
    rows = [json.loads(line) for line in (tmp_path / "data" / "demonstrations.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {"1", f"{second}:1", "b-2"}
    assert {row["completion"] for row in rows} == {"It is rain.", "It is snow.", "Fog."}


def test_rated_completions_are_kept_whole_and_their_desirable_ones_imitated(tmp_path: Path, tiny_base: Path) -> None:
    data = write(tmp_path, {**ALPACA, "label": True}, {**ALPACA, "label": False})
    found = gathered(tmp_path, recipe_of(tmp_path, tiny_base, SFT, f"{{path: {data}}}"))
    assert (found["demonstrations"], found["ratings"], found["dropped"]) == (1, 2, {})
    rows = [json.loads(line) for line in (tmp_path / "data" / "ratings.jsonl").read_text().splitlines()]
    assert sorted(row["desirable"] for row in rows) == [False, True]


def test_rows_left_out_while_reading_are_counted_in_the_data_stage(tmp_path: Path, tiny_base: Path) -> None:
    data = write(tmp_path, {"messages": [{"role": "user", "content": "Hi"}]}, *SHORT)
    found = gathered(tmp_path, recipe_of(tmp_path, tiny_base, SFT, f"{{path: {data}}}"))
    assert (found["demonstrations"], found["dropped"]) == (1, {"ends without an assistant's turn": 1})


def test_scored_completions_are_paired_for_a_stage_that_reads_pairs(tmp_path: Path) -> None:
    source = FileSource(path=str(write(tmp_path, *SCORED)))
    (pair,) = read_file(source, pairs=True).preferences
    assert (pair.chosen, pair.rejected) == ("It is hail.", "No")
    alone = read_file(source, pairs=False)
    assert (alone.preferences, [one.completion for one in alone.demonstrations]) == ([], ["It is hail."])


def test_dpo_on_completions_without_pairs_is_refused_before_anything_runs(tmp_path: Path, tiny_base: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_base, f"{SFT}, {DPO}", f"{{path: {write(tmp_path, ALPACA)}}}")
    with pytest.raises(UserError, match="dpo needs preference pairs, and no file"):
        check_recipe(recipe)


def test_singly_scored_files_beside_pairs_serve_the_stages_that_read_scores(tmp_path: Path, tiny_base: Path) -> None:
    single = write(
        tmp_path, *({"prompt": f"Say {i}.", "response": "Yes", "score": i} for i in range(3)), name="s.jsonl"
    )
    pairs = write(tmp_path, PAIR, name="p.jsonl")
    stages = f"{DPO}, {{method: reward_pointwise}}"
    recipe = recipe_of(tmp_path, tiny_base, stages, f"{{path: {single}}}", f"{{path: {pairs}}}")
    check_recipe(recipe)
    found = gathered(tmp_path, recipe)
    assert (found["preferences"], found["scored"]) == (1, 3)
    with pytest.raises(UserError) as error:
        check_recipe(recipe_of(tmp_path, tiny_base, stages, f"{{path: {single}}}"))
    assert str(error.value) == (
        f"train: dpo needs preference pairs, and no file in data.files gives any: {single} holds 3 rows of the format "
        '"scored completions", in which no prompt has two completions with different scores. Add a file of the shape '
        "prompt, chosen and rejected, or of several scored completions a prompt; or take dpo out."
    )
    with pytest.raises(UserError, match=r"there are none in 3 rows .*, in which no prompt has two completions"):
        check_recipe(recipe_of(tmp_path, tiny_base, stages, f"{{path: {single}, holdout: 0.2}}"))
    with pytest.raises(UserError, match="give several a prompt, or train `reward_pointwise`"):
        train_single("dpo", str(tiny_base), str(single), tmp_path / "run", None)


def test_sft_on_nothing_to_imitate_is_refused_before_anything_runs(tmp_path: Path, tiny_base: Path) -> None:
    steps = write(tmp_path, {"prompt": "Why?", "completions": ["So."], "labels": [True]}, name="steps.jsonl")
    bad = write(tmp_path, {**ALPACA, "label": False}, name="bad.jsonl")
    recipe = recipe_of(tmp_path, tiny_base, SFT, f"{{path: {steps}}}", f"{{path: {bad}}}")
    with pytest.raises(
        UserError, match=r"sft needs completions to imitate, .*steps\.jsonl holds .*; .*bad\.jsonl holds"
    ):
        check_recipe(recipe)


def test_a_policy_is_not_trained_from_a_reward_model(tmp_path: Path, tiny_base: Path) -> None:
    data = write(tmp_path, PAIR)
    reward = train_single("reward", str(tiny_base), str(data), tmp_path / "rm", None).model
    for method in ("sft", "dpo", "kto"):
        with pytest.raises(UserError, match=r"is a reward model \(it holds reward_head.json\)"):
            train_single(method, str(reward), str(data), tmp_path / method, None)
    with pytest.raises(UserError, match="Start from the model that it was trained from"):
        check_recipe(recipe_of(tmp_path, reward, DPO, f"{{path: {data}}}"))
    # A reward method goes on with it, head and all.
    again = train_single("reward", str(reward), str(data), tmp_path / "more", None).model
    assert (again / "reward_head.json").exists()


def test_holding_out_of_what_has_no_pairs_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_base, SFT, f"{{path: {write(tmp_path, ALPACA)}, holdout: 0.2}}")
    with pytest.raises(UserError, match=r"`holdout` keeps preference pairs .*Alpaca"):
        check_recipe(recipe)


def test_a_folders_digest_follows_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder, PAIR)
    before = source_digest(str(folder))
    assert before == source_digest(str(folder)) != source_digest(str(folder / "rows.jsonl"))
    write(folder, ALPACA)
    assert source_digest(str(folder)) != before


def test_sft_trains_on_alpaca_rows_and_dpo_says_why_not(tmp_path: Path, tiny_base: Path) -> None:
    turns = [{"role": "user", "content": "Say snow."}, {"role": "assistant", "content": "It is snow."}]
    data = str(
        write(
            tmp_path,
            *[{"messages": turns}] * 3,
            {"messages": turns[:1]},
            {"messages": [turns[0], {**turns[1], "content": ""}]},
        )
    )
    settings = tmp_path / "sft.yaml"
    settings.write_text("lora: {r: 2}\n")
    trained = train_single("sft", str(tiny_base), data, tmp_path / "run", settings)
    wanted = {"ends without an assistant's turn": 1, "empty completion": 1}
    assert (trained.rows, dict(trained.dropped)) == (3, wanted)
    assert json.loads((tmp_path / "run" / "dropped.json").read_text()) == wanted
    with pytest.raises(UserError, match='format "chat messages", which give demonstrations') as caught:
        train_single("dpo", str(tiny_base), data, tmp_path / "other", None)
    assert data in str(caught.value)
    assert not (tmp_path / "other").exists()
