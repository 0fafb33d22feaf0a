"""Feedback sources as a recipe has them, on tiny real models: rows, reports, a server going down, mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from charter.document import STARTER, Charter, load_charter
from charter.errors import Unfinished, UserError
from charter.judges.refusal import RefusalJudge
from charter.models.loading import load_model
from charter.models.template import chat_format
from charter.recipes.data_stage import build_data
from charter.recipes.pipeline import align
from charter.recipes.preflight import check_recipe
from charter.recipes.recipe import Recipe, load_recipe
from charter.recipes.voices import Voices
from charter.records import user_prompt

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from serving import serving
from tiny import tiny_folder

HEAD = "recipe: 1\nname: tiny\nmodel: {model}\nseed: 3\nsuites: []\n"
SFT = "train: [{method: sft, epochs: 1, batch_size: 4, max_tokens: 2000, lora: {r: 2}}]\n"
PROMPTS = "{red_team: 3, lookalikes: 2, general: 1}"
ENDPOINT = """\
critic: {server}
labeller: {server}
endpoint: {{concurrency: 4, attempts: 1, price: [2.0, 10.0]}}
data:
  revision: {{prompts: {prompts}, rounds: 2, answer_tokens: 8, critique_tokens: 8, shots: false}}
  labels: {{prompts: {prompts}, ensemble: 2, sample_tokens: 8}}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("long") / "base", num_hidden_layers=2, max_position_embeddings=4096)


@pytest.fixture(scope="module")
def labeller(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a head that finds A and B likely wherever it is asked: a random one has other favourites."""
    local = load_model(str(base), "float32")
    prompts = ["Which reply keeps the rule better, A or B?", "Hello", "Answer with one letter."]
    ids = [chat_format(local.tokenizer).prompt_ids(user_prompt(prompt)) for prompt in prompts]
    with torch.no_grad():
        ends = [local.model.model(torch.tensor([one])).last_hidden_state[0, -1] for one in ids]
        towards = torch.stack(ends).mean(0)
        for letter, seed in (("A", 1), ("B", 2)):
            noise = torch.randn(towards.shape, generator=torch.Generator().manual_seed(seed))
            (token,) = local.tokenizer.encode(letter, add_special_tokens=False)
            local.model.lm_head.weight[token] = 0.5 * towards + 0.05 * noise
    folder = tmp_path_factory.mktemp("labeller") / "model"
    local.model.save_pretrained(folder)
    local.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def judge() -> RefusalJudge:
    return RefusalJudge()


@pytest.fixture(scope="module")
def charter() -> Charter:
    return load_charter(STARTER)


def recipe(folder: Path, base: Path, rest: str) -> Recipe:
    path = folder / "recipe.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD.format(model=base) + rest + SFT)
    return load_recipe(path)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_an_endpoint_as_critic_and_labeller_goes_down_and_only_the_rest_is_asked(
    tmp_path: Path, base: Path, labeller: Path, charter: Charter, judge: RefusalJudge
) -> None:
    with serving(labeller, up=9) as server:
        own = recipe(tmp_path, base, ENDPOINT.format(server=server.endpoint, prompts=PROMPTS))
        check_recipe(own)
        with pytest.raises(Unfinished, match=r"down for now.*run the same command again"):
            build_data(own, charter, Voices(own, tmp_path / "cut"), judge, tmp_path / "cut")
        assert len(server.answered) == 9
        server.up = 10**9
        result = build_data(own, charter, Voices(own, tmp_path / "cut"), judge, tmp_path / "cut")
        # Nothing that was answered was asked again: what the endpoint said is kept.
        assert len(set(server.answered)) == len(server.answered)
        asked = len(server.answered)
        whole = build_data(own, charter, Voices(own, tmp_path / "whole"), judge, tmp_path / "whole")
        assert len(server.answered) == 2 * asked
    assert result["digests"] == whole["digests"]
    counts = result["counts"]
    assert counts[f"{server.endpoint}: answered before"] == 9
    assert counts[f"{server.endpoint}: prompt tokens"] > 1000
    # Every answer that the server gave is in the account, whichever try it was given in.
    spent = json.loads((tmp_path / "cut" / "spent.json").read_text())[server.endpoint]
    assert 2 * spent["prompt tokens"] == sum(one["prompt_tokens"] for one in server.usage)
    assert 2 * spent["completion tokens"] == sum(one["completion_tokens"] for one in server.usage)
    assert spent["cost"] == pytest.approx((2 * spent["prompt tokens"] + 10 * spent["completion tokens"]) / 1e6)
    # Every prompt of both sources ends somewhere: kept, or counted by reason.
    assert sum(n for what, n in counts.items() if what.startswith("revision: ")) == 6
    assert sum(n for what, n in counts.items() if what.startswith("labels: ")) == 6
    report = json.loads((tmp_path / "whole" / "labels.json").read_text())
    assert report["place"]["pairs"] == counts[f"labels: by {server.endpoint}"] > 0
    assert 0 < report["place"]["first_place"] < 1
    labelled = rows(tmp_path / "whole", "preferences.jsonl")
    assert len(labelled) == 2 * report["place"]["pairs"]
    for row in labelled:
        assert row["rater"] == server.endpoint
        assert len(row["made"]["asked"]) == 4
        assert len(row["clauses"]) == 2


def test_without_a_labeller_labels_are_by_likelihood_contrast_and_say_so(
    tmp_path: Path, base: Path, charter: Charter, judge: RefusalJudge
) -> None:
    own = recipe(tmp_path, base, f"data: {{labels: {{prompts: {PROMPTS}, sample_tokens: 8, soft: false}}}}\n")
    result = build_data(own, charter, Voices(own, tmp_path / "out"), judge, tmp_path / "out")
    assert result["counts"]["labels: by likelihood contrast (no labeller named)"] == len(
        rows(tmp_path / "out", "preferences.jsonl")
    )
    assert {row["rater"] for row in rows(tmp_path / "out", "preferences.jsonl")} == {
        "likelihood contrast (no labeller named)"
    }


def test_distillation_trains_by_token_level_kl_and_leaves_its_report(tmp_path: Path, base: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        HEAD.format(model=base)
        + f"data:\n  distillation: {{prompts: {PROMPTS}, sample_tokens: 8, gate: null, samples: 2}}\n"
        + f"train: [{{method: distill, teacher: {base}, teacher_prompt: preprompt, batch_size: 4, lora: {{r: 2}}}}]\n"
    )
    folder, _ = align(path, tmp_path / "run")
    stage = folder / "stages" / "01-data"
    report = json.loads((stage / "distillation.json").read_text())
    assert len(report["points"]) + sum(report["histograms"][0]["counts"]) >= 6
    assert (stage / "distillation.svg").read_text().startswith("<svg")
    for row in rows(stage, "demonstrations.jsonl"):
        assert [one["role"] for one in row["made"]["asked"]] == ["bare", "distilled"]
    before = (stage / "answers.jsonl").stat().st_mtime_ns
    (stage / "done.json").unlink()
    align(path, tmp_path / "run")
    assert (stage / "answers.jsonl").stat().st_mtime_ns == before


def test_people_and_models_mix_by_weight(tmp_path: Path, base: Path, charter: Charter, judge: RefusalJudge) -> None:
    human = tmp_path / "human.jsonl"
    human.write_text(
        json.dumps(
            {"id": "h1", "prompt": "Say hi.", "chosen": "Hi!", "rejected": "No.", "rater": "anna", "strength": 0.8}
        )
        + "\n"
    )
    own = recipe(
        tmp_path,
        base,
        f"data:\n  files: [{{path: {human}, weight: 0.5}}]\n"
        f"  labels: {{prompts: {PROMPTS}, sample_tokens: 8, soft: false, weight: 0.25}}\n",
    )
    build_data(own, charter, Voices(own, tmp_path / "out"), judge, tmp_path / "out")
    found = rows(tmp_path / "out", "preferences.jsonl")
    assert {row["rater"]: row["strength"] for row in found} == {
        "anna": 0.4,
        "likelihood contrast (no labeller named)": 0.25,
    }
    # The same record out and in: a file of these rows is read as it is.
    own = recipe(tmp_path / "again", base, f"data: {{files: [{{path: {tmp_path}/out/preferences.jsonl}}]}}\n")
    build_data(own, charter, Voices(own, tmp_path / "back"), judge, tmp_path / "back")
    again = rows(tmp_path / "back", "preferences.jsonl")
    kept = ("prompt", "chosen", "rejected", "rater", "strength", "clauses", "margin")
    assert sorted(str([row[key] for key in kept]) for row in again) == sorted(
        str([row[key] for key in kept]) for row in found
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("critic: smollm2\ndata: {benign: {}}\n", "critic: has nothing to do"),
        ("labeller: smollm2\ndata: {benign: {}}\n", "labeller: has nothing to do"),
        ("data: {labels: {chain_of_thought: true}, benign: {}}\n", "labels.chain_of_thought needs a `labeller:`"),
        ("data: {revision: {agree: labeller}}\n", "revision.agree: labeller needs a `labeller:`"),
        ("critic: ./nowhere\ndata: {revision: {}}\n", "no such folder"),
        ("critic: openai:host#m\ndata: {revision: {}}\n", "is not an endpoint"),
        ("endpoint: {attempts: 2}\ndata: {benign: {}}\n", "endpoint: has nothing to do"),
        ("data: {distillation: {prompts: {red_team: 0, lookalikes: 0, general: 0}}}\n", "asks for none of any kind"),
        ("data: {distillation: {safety: [{judge: refusall}]}}\n", '"refusal"'),
        ("data: {labels: {}}\n", "sft needs completions to imitate"),
    ],
)
def test_what_would_fail_later_is_said_first(tmp_path: Path, base: Path, data: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        check_recipe(recipe(tmp_path, base, data))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("data: {labels: {clamp: [0.3, 0.7]}}\n", "clamp does nothing"),
        ("data: {contrast: {min_margin: 2}}\n", "min_margin does nothing"),
        ("data: {contrast: {samples: 2, label: told}}\n", "need label: judge"),
        ("data: {distillation: {samples: 3, temperature: 0}}\n", "all alike at temperature 0"),
        ("data: {distillation: {gate: null, floor: 0.2}}\n", "floor does nothing"),
        ("data: {revision: {agree: labeller, safety: [{judge: refusal}]}}\n", "safety does nothing"),
        ("data: {distillation: {treshold: 0.2}}\n", '"threshold"'),
        ("data: {revision: {prompts: {red_teem: 2}}}\n", '"red_team"'),
        ("data: {labels: {prompts: {prompt_files: [{path: a, kind: harmful}]}}}\n", "red_team"),
        ("endpoint: {timeout: 2}\ndata: {benign: {}}\n", '"timeout_seconds"'),
    ],
)
def test_an_option_that_does_nothing_or_is_none_is_refused(tmp_path: Path, base: Path, data: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(tmp_path, base, data)
    assert says in str(caught.value)
    assert "line" in str(caught.value)
