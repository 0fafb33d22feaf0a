"""Every preference method on a real (tiny) model folder; strengths; options; KTO's mismatched completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny import groups_of, metrics, one_by_one, tiny_folder, tiny_model, with_lora

from charter.errors import UserError
from charter.models.loading import load_model
from charter.models.lora import LoraSettings
from charter.records import Preference, Rated, rated_sides, user_prompt
from charter.training.catalogue import CATALOGUE, method
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train
from charter.training.losses import kto_loss, orpo_loss
from charter.training.methods import DpoSettings, KtoSettings, train_dpo, train_kto
from charter.training.methods.kto import KtoObjective, mismatched
from charter.training.objective import Tally
from charter.training.reference import cached_reference
from charter.training.scoring import completion_logprob_sums, logprob_sums, tail_weights
from charter.training.settings import TrainSettings

LORA = LoraSettings(r=4, alpha=8)
OF_PAIRS = [name for name, entry in CATALOGUE.items() if entry.reads == "preferences" and entry.gives == "policy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model")


def preferences(count: int = 8, strength: float = 1.0) -> list[Preference]:
    return [
        Preference(f"p{i}", user_prompt(f"Say {i}."), f"Gladly: {i}.", f"No {i}.", strength=strength)
        for i in range(count)
    ]


def ratings(count: int = 8) -> list[Rated]:
    return [side for pair in preferences(count) for side in rated_sides(pair)]


@pytest.mark.parametrize("name", OF_PAIRS)
def test_every_pair_method_learns_the_preference_and_saves_a_model(name: str, folder: Path, tmp_path: Path) -> None:
    kind = method(name)
    how = kind.settings.model_validate({"epochs": 8, "batch_size": 4, "learning_rate": 1e-2, "lora": LORA})
    done = kind.run(str(folder), preferences(), how, tmp_path)
    seen = metrics(tmp_path)
    assert seen[-1]["loss"] < seen[0]["loss"]
    assert seen[-1]["accuracy"] == 1.0
    assert seen[-1]["margin"] > seen[0]["margin"]
    assert (done.rows, dict(done.dropped)) == (8, {})
    assert next((tmp_path).glob("reference*"), None) is None if name in ("simpo", "orpo") else True
    load_model(str(done.model))


def test_kto_learns_which_completions_are_good(folder: Path, tmp_path: Path) -> None:
    rows = [*ratings(), Rated("empty", user_prompt("Speak."), " ", True)]
    how = KtoSettings(epochs=8, batch_size=4, learning_rate=1e-2, beta=0.5, lora=LORA)
    done = train_kto(str(folder), rows, how, tmp_path)
    seen = metrics(tmp_path)
    assert seen[0]["loss"] == pytest.approx(0.5, abs=1e-3)  # at the reference every sigmoid is one half
    assert seen[-1]["loss"] < 0.3
    last = {name: value for row in seen for name, value in row.items()}
    assert last["desirable_reward"] > 0 > last["undesirable_reward"]
    assert (done.rows, dict(done.dropped)) == (16, {"empty completion": 1})
    load_model(str(done.model))


def test_changed_labels_are_another_run(folder: Path, tmp_path: Path) -> None:
    how = KtoSettings(lora=LORA)
    train_kto(str(folder), ratings(), how, tmp_path)
    turned = [Rated(r.id, r.prompt, r.completion, not r.desirable) for r in ratings()]
    with pytest.raises(UserError, match="made with other data or settings"):
        train_kto(str(folder), turned, how, tmp_path)


def first_loss(name: str, folder: Path, run: Path, **changed: Any) -> float:
    """The first loss of a second stage, where policy and reference no longer agree on the data's scale."""
    kind = method(name)
    how = kind.settings.model_validate({"epochs": 3, "batch_size": 16, "learning_rate": 3e-3, "lora": LORA, **changed})
    pairs = [
        Preference(f"p{i}", user_prompt(f"Say {i}."), "Yes, " * (1 + i % 3), "No " * (1 + i % 5)) for i in range(6)
    ]
    rows = [side for pair in pairs for side in rated_sides(pair)] if CATALOGUE[name].reads == "ratings" else pairs
    kind.run(str(folder), rows, how, run)
    return float(metrics(run)[-1]["loss"])


OPTIONS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.7, "label_smoothing": 0.2, "length_desensitisation": 0.3, "sft_weight": 0.5},
    "robust_dpo": {"beta": 0.7, "label_smoothing": 0.3},
    "ipo": {"beta": 0.7},
    "ipo_mean": {"beta": 0.7},
    "slic": {"beta": 0.7, "sft_weight": 0.5},
    "chi_po": {"beta": 0.7, "max_reward": 0.01},
    "simpo": {"beta": 0.7, "gamma": 0.3, "sft_weight": 0.5},
    "orpo": {"odds_weight": 0.7},
    "kto": {"beta": 0.7, "desirable_weight": 2.0, "undesirable_weight": 2.0},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_a_method_does_something(name: str, folder: Path, tmp_path: Path) -> None:
    own = set(method(name).settings.model_fields) - set(TrainSettings.model_fields) - {"method", "watch"}
    assert own == set(OPTIONS[name])
    plain = first_loss(name, folder, tmp_path / "plain")
    for option, value in OPTIONS[name].items():
        assert first_loss(name, folder, tmp_path / option, **{option: value}) != pytest.approx(plain, abs=1e-6), option


def test_options_of_another_method_are_refused() -> None:
    for name, wrong in [("ipo", "label_smoothing"), ("simpo", "label_smoothing"), ("orpo", "beta"), ("kto", "gamma")]:
        with pytest.raises(ValidationError, match="Extra inputs"):
            method(name).settings.model_validate({wrong: 0.1})
    for name, wrong_value in [("dpo", {"label_smoothing": 0.5}), ("kto", {"batch_size": 1}), ("simpo", {"beta": 0})]:
        with pytest.raises(ValidationError):
            method(name).settings.model_validate(wrong_value)


@pytest.mark.parametrize(("wrong", "right"), [("dpoo", "dpo"), ("ipo-mean", "ipo_mean"), ("chipo", "chi_po")])
def test_unknown_methods_get_the_nearest_name(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f'Did you mean "{right}"'):
        method(wrong)


def test_strength_weighs_a_pair(folder: Path, tmp_path: Path) -> None:
    how = DpoSettings(epochs=2, batch_size=8, learning_rate=1e-2, lora=LORA, sft_weight=0.3)
    pairs = preferences()
    strong = [
        Preference(p.id, p.prompt, p.chosen, p.rejected, strength=0.25 if i else 1.0) for i, p in enumerate(pairs)
    ]
    losses = {}
    for name, rows in {"ones": pairs, "halves": preferences(strength=0.5), "one strong": strong}.items():
        train_dpo(str(folder), rows, how, tmp_path / name)
        losses[name] = metrics(tmp_path / name)[-1]["loss"]
    assert losses["halves"] == pytest.approx(losses["ones"], rel=1e-5)  # a mean: a common factor does nothing
    assert losses["one strong"] != pytest.approx(losses["ones"], rel=1e-4)
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"row p0 has strength"):
            train_dpo(str(folder), preferences(strength=wrong), how, tmp_path / "wrong")


def test_tail_weights_start_where_the_shorter_side_ends() -> None:
    row = Row([Group("a", (1,), ((2, 3, 4), (5,))), Group("b", (1,), ((2,), (3, 4)))])
    assert tail_weights(row, 0.25).tolist() == [1, 0.25, 0.25, 1, 1, 1, 0.25]


def test_cached_references_are_told_apart_by_tail_weight(tmp_path: Path) -> None:
    logprobs, groups = CompletionLogprobs(tiny_model()), groups_of((3, 2, 5), (4, 4, 1))
    for _ in range(2):
        for alpha in (1.0, 0.5):
            sums = cached_reference(logprobs, groups, 50, "digest", tmp_path / "reference", alpha)
            want = one_by_one(logprobs.model, groups) * tail_weights(Row(groups), alpha)
            lengths = [len(c) for g in groups for c in g.completions]
            parts = torch.stack([part.sum() for part in want.split(lengths)])
            torch.testing.assert_close(torch.cat([sums[g.key] for g in groups]), parts, atol=1e-4, rtol=1e-4)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def numbered(prompts: list[int]) -> list[Group]:
    """A group for each prompt number, with a completion that names the group."""
    return [Group(f"{i:03}", (100 + prompt,), ((i, i),)) for i, prompt in enumerate(prompts)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_mismatched_completions_go_to_prompts_not_their_own(prompts: list[int], random: Any) -> None:
    batch = numbered(prompts)
    made = mismatched(batch)
    own = {group.completions: group.prompt for group in batch}
    assert all(own[group.completions] != group.prompt for group in made)
    assert len({group.completions for group in made}) == len(made) == len({group.key for group in made})
    shuffled = list(batch)
    random.shuffle(shuffled)
    assert mismatched(shuffled) == made
    if max(map(prompts.count, prompts)) == 1 and len(prompts) > 1:
        assert len(made) == len(batch)
        assert made[0].completions == batch[-1].completions  # as the paper's and TRL's code pass them on
    if len(set(prompts)) == 1:
        assert made == []


def test_mismatched_rows_are_no_longer_than_rows_may_be() -> None:
    batch = [Group("a", (1,) * 9, ((2,),)), Group("b", (2,), ((3,) * 9,)), Group("c", (3,), ((4, 4),))]
    assert [group.key for group in mismatched(batch)] == ["a < c", "b < a", "c < b"]
    assert [group.key for group in mismatched(batch, 11)] == ["a < c", "b < a", "c < b"]
    assert [group.key for group in mismatched(batch, 10)] == ["b < a", "c < b"]


def test_pairs_whose_sides_follow_one_another_lose_no_completion() -> None:
    assert len(mismatched(numbered([0, 0, 1, 1, 2, 2]))) == 6


def kto_objective(groups: list[Group]) -> KtoObjective:
    """KTO against a reference that finds everything a nat less likely, so that the KL is not clamped at zero."""
    sums = completion_logprob_sums(CompletionLogprobs(tiny_model()), [*groups, *mismatched(groups)], 64, "reference")
    lower = {key: value - 1 for key, value in sums.items()}
    return KtoObjective(lower, {g.key: i % 2 == 0 for i, g in enumerate(groups)}, {})


def test_the_kl_is_the_mean_log_ratio_of_mismatched_completions() -> None:
    groups = groups_of((4, 3), (9, 12), (2, 1), (6, 6))
    model = tiny_model()
    with torch.no_grad():
        want = (one_by_one(model, mismatched(groups)) - one_by_one(tiny_model(seed=4), mismatched(groups))).sum() / 4
    found = {}
    for sign, policy, reference in ((1, 0, 4), (-1, 4, 0)):
        logprobs, other = CompletionLogprobs(tiny_model(seed=policy)), CompletionLogprobs(tiny_model(seed=reference))
        sums = completion_logprob_sums(other, mismatched(groups), 64, "reference")
        objective = KtoObjective(sums, {}, {}).for_batch(groups, lambda g, p=logprobs: logprob_sums(p, g, 20))
        found[sign] = objective.kl
    assert found[1] == pytest.approx(max(want.item(), 0), rel=1e-4)
    assert found[-1] == pytest.approx(max(-want.item(), 0), rel=1e-4)
    assert max(found.values()) > 0.1
    assert kto_objective(groups[:1]).for_batch(groups[:1], lambda _: {}).kl == 0.0
    with pytest.raises(ValueError, match="for_batch"):
        kto_objective(groups).loss(torch.zeros(22), Row(groups), Tally())


def test_neither_row_order_nor_the_split_of_a_batch_changes_ktos_kl(tmp_path: Path) -> None:
    groups = groups_of((4, 3), (9, 12), (2, 1), (6, 6), (5, 2))
    objective = kto_objective(groups)
    logged = []
    for run, (rows, budget) in enumerate([(groups, 1000), (groups[::-1], 1000), (groups, 15)]):
        how = TrainSettings(batch_size=5, row_tokens=budget)
        model = with_lora(tiny_model(), dropout=0.0)
        train(model, objective, rows, how, tmp_path / str(run), title="test")
        logged.append((metrics(tmp_path / str(run))[0]["kl"], metrics(tmp_path / str(run))[0]["loss"]))
    assert logged[0][0] > 0.1
    assert logged[1] == pytest.approx(logged[0], rel=1e-4)
    assert logged[2] == pytest.approx(logged[0], rel=1e-4)


def test_the_kl_is_taken_without_dropout_and_training_goes_on_with_it(tmp_path: Path) -> None:
    groups = groups_of((4, 3), (9, 12), (2, 1), (6, 6), (5, 2))
    seen = []
    for dropout in (0.0, 0.5):
        model = with_lora(tiny_model(), dropout=dropout)
        how = TrainSettings(batch_size=5)
        train(model, kto_objective(groups), groups, how, tmp_path / str(dropout), title="test")
        seen.append(metrics(tmp_path / str(dropout))[0])
    assert seen[1]["kl"] == pytest.approx(seen[0]["kl"], rel=1e-4)
    assert seen[1]["loss"] != pytest.approx(seen[0]["loss"], rel=1e-4)


@given(st.lists(st.floats(-8, -1e-3), min_size=2, max_size=2), st.floats(-30, 30), st.floats(0, 5))
def test_gradients_in_float64(logps: list[float], ratio: float, kl: float) -> None:
    sides = [torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in logps]
    assert torch.autograd.gradcheck(orpo_loss, sides, atol=1e-5)
    one = torch.tensor([ratio], dtype=torch.float64, requires_grad=True)
    for good in (True, False):
        assert torch.autograd.gradcheck(lambda r, g=good: kto_loss(r, torch.tensor([g]), kl, 0.3), [one])
