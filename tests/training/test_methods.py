"""`train_sft` and `train_dpo` on a real (tiny) model folder: what is written, dropped, refused, resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import metrics, tiny_folder

from charter.errors import Unfinished, UserError
from charter.models.loading import load_model
from charter.models.lora import LoraSettings
from charter.records import Demonstration, Preference, user_prompt
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train
from charter.training.methods import DpoSettings, SftSettings, train_dpo, train_sft
from charter.training.methods.likelihood import SftObjective
from charter.training.policy import trainable_policy

LORA = LoraSettings(r=4, alpha=8)
DORA = LoraSettings(r=4, alpha=8, dora=True)
STABLE = LoraSettings(r=4, alpha=8, rank_stabilised=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model")


def demonstrations(count: int = 8) -> list[Demonstration]:
    return [
        Demonstration(f"d{i}", user_prompt(f"Say {i}."), f"It is {i}, {'so ' * (i % 3)}there.") for i in range(count)
    ]


def preferences(count: int = 8) -> list[Preference]:
    return [Preference(f"p{i}", user_prompt(f"Say {i}."), f"Gladly: {i}.", f"No {i}.") for i in range(count)]


def logits(name: Path, *, merge: bool) -> torch.Tensor:
    loaded = load_model(str(name), "float32", merge=merge)
    with torch.no_grad():
        return loaded.model(input_ids=torch.arange(3, 40)[None]).logits


@pytest.mark.parametrize("lora", [None, LORA, DORA, STABLE])
def test_sft_learns_and_what_it_saved_answers_as_what_it_trained(
    folder: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    how = SftSettings(epochs=6, batch_size=4, learning_rate=1e-2, lora=lora)
    done = train_sft(str(folder), demonstrations(), how, tmp_path)
    seen = metrics(tmp_path)
    assert done.result.steps == 12 == len(seen)
    # Adapters of rank 4 on a random body under a frozen head can learn little; that they learn is what matters.
    assert seen[-1]["loss"] < (0.7 if lora is None else 0.97) * seen[0]["loss"]
    assert (done.rows, dict(done.dropped)) == (8, {})
    assert json.loads((tmp_path / "dropped.json").read_text()) == {}
    assert (done.model / "adapter_config.json").exists() == (lora is not None)
    assert not torch.allclose(logits(done.model, merge=True), logits(folder, merge=True), atol=1e-2)


@pytest.mark.parametrize("lora", [None, LORA, DORA, STABLE])
def test_save_and_reload_give_identical_logits_and_merged_ones_within_rounding(
    folder: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    policy = trainable_policy(str(folder), lora, seed=0)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=drawn).to(weight.dtype) * 0.05)
        policy.model.eval()
        before = policy.model(input_ids=torch.arange(3, 40)[None]).logits
    policy.save(tmp_path / "model")
    dtype: Any = str(policy.model.dtype).removeprefix("torch.")
    with torch.no_grad():
        again = load_model(str(tmp_path / "model"), dtype, merge=False).model
        assert torch.equal(again(input_ids=torch.arange(3, 40)[None]).logits, before)
    torch.testing.assert_close(
        logits(tmp_path / "model", merge=True), logits(tmp_path / "model", merge=False), atol=1e-4, rtol=1e-4
    )


def test_dpo_starts_at_ln_2_and_learns_the_preference(folder: Path, tmp_path: Path) -> None:
    how = DpoSettings(epochs=8, batch_size=4, learning_rate=1e-2, beta=0.5, lora=LORA)
    train_dpo(str(folder), preferences(), how, tmp_path)
    seen = metrics(tmp_path)
    assert seen[0]["loss"] == pytest.approx(0.693147, abs=2e-3)
    assert seen[0]["margin"] == pytest.approx(0, abs=2e-3)
    assert seen[-1]["accuracy"] == 1.0
    assert seen[-1]["loss"] < 0.3


def test_training_goes_on_from_an_adapter(folder: Path, tmp_path: Path) -> None:
    first = train_sft(
        str(folder), demonstrations(), SftSettings(epochs=3, learning_rate=1e-2, lora=LORA), tmp_path / "a"
    )
    second = train_dpo(str(first.model), preferences(), DpoSettings(lora=LORA), tmp_path / "b")
    assert json.loads((second.model / "adapter_config.json").read_text())["base_model_name_or_path"] == str(folder)
    assert metrics(tmp_path / "b")[0]["loss"] == pytest.approx(0.693147, abs=2e-3)


def test_the_form_of_an_adapter_that_training_goes_on_from_is_kept(folder: Path, tmp_path: Path) -> None:
    first = train_sft(str(folder), demonstrations(), SftSettings(lora=DORA), tmp_path / "a")
    assert json.loads((first.model / "adapter_config.json").read_text())["use_dora"]
    second = train_dpo(str(first.model), preferences(), DpoSettings(learning_rate=1e-2), tmp_path / "b")
    assert metrics(tmp_path / "b")[0]["loss"] == pytest.approx(0.693147, abs=2e-3)
    start, end = (load_file(m / "adapter_model.safetensors") for m in (first.model, second.model))
    magnitudes = [name for name in start if "magnitude" in name]
    assert len(magnitudes) == 3 * 7
    assert not all(torch.equal(start[name], end[name]) for name in magnitudes)
    with pytest.raises(UserError, match=r"lora\.dora is false.*Leave the option out"):
        trainable_policy(str(first.model), LoraSettings(dora=False), 0)


def test_rows_that_cannot_be_used_are_dropped_by_name_and_counted(folder: Path, tmp_path: Path) -> None:
    long = "word " * 60
    rows = [
        *demonstrations(3),
        Demonstration("long", user_prompt("Speak."), long),
        Demonstration("long prompt", user_prompt(long), "Yes."),
        Demonstration("empty", user_prompt("Speak."), "  "),
    ]
    how = SftSettings(max_tokens=120, lora=LORA)
    done = train_sft(str(folder), rows, how, tmp_path / "sft")
    want = {"longer than 120 tokens": 2, "empty completion": 1}
    assert (done.rows, dict(done.dropped)) == (3, want)
    assert json.loads((tmp_path / "sft" / "dropped.json").read_text()) == want
    pairs = [
        *preferences(2),
        Preference("same", user_prompt("Speak."), "Yes.", " Yes. "),
        Preference("long", user_prompt("Speak."), long, "Yes."),
    ]
    done = train_dpo(str(folder), pairs, DpoSettings(max_tokens=120, lora=LORA), tmp_path / "dpo")
    assert dict(done.dropped) == {"chosen equals rejected": 1, "longer than 120 tokens": 1}
    with pytest.raises(UserError, match=r"none of the 2 rows can be used \(longer than 120 tokens: 2\)"):
        train_sft(str(folder), rows[3:5], how, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_checkpoint_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    how = SftSettings(lora=LORA)
    train_sft(str(folder), demonstrations(), how, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    other = tiny_folder(tmp_path / "other", seed=5)
    heavier = [
        Demonstration(r.id, r.prompt, r.completion, weight=2.0 if i else 1.0) for i, r in enumerate(demonstrations())
    ]
    for model, rows, changed in [
        (folder, demonstrations(), how.model_copy(update={"learning_rate": 1e-3})),
        (folder, demonstrations(9), how),
        (folder, heavier, how),
        (other, demonstrations(), how),
    ]:
        with pytest.raises(UserError, match="made with other data or settings"):
            train_sft(str(model), rows, changed, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    train_sft(str(folder), demonstrations(), how.model_copy(update={"save_every": 3}), tmp_path)


def test_loss_that_is_not_finite_stops_and_names_the_rows(folder: Path, tmp_path: Path) -> None:
    policy = trainable_policy(str(folder), LORA, seed=0)
    groups = [Group(f"row {i}", (3, 4), ((5, 6),)) for i in range(4)]
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[77] = float("nan")
    groups.append(Group("the bad row", (3, 77), ((5, 6),)))
    how = SftSettings(batch_size=1, save_every=1, learning_rate=1e-6, lora=LORA)
    with pytest.raises(Unfinished, match="the bad row") as error:
        train(policy.model, SftObjective({g.key: 1.0 for g in groups}), groups, how, tmp_path, title="SFT")
    assert "row 1" not in str(error.value)
    assert error.value.exit_code == 4
    stopped_at = len(metrics(tmp_path))
    assert (tmp_path / "checkpoints" / f"step-{stopped_at:08}").exists() or stopped_at == 0


def test_no_rows_is_a_users_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data is empty"):
        train_sft(str(folder), [], SftSettings(), tmp_path)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        SftSettings(learning_rat=1e-3)  # type: ignore[call-arg]


def test_metrics_say_what_was_run(folder: Path, tmp_path: Path) -> None:
    how = SftSettings(epochs=2, batch_size=3, warmup=0.5, learning_rate=1e-3, lora=LORA)
    train_sft(str(folder), demonstrations(), how, tmp_path)
    seen = metrics(tmp_path)
    assert [row["step"] for row in seen] == list(range(1, 7))
    assert [row["learning_rate"] for row in seen] == pytest.approx(
        [x * 1e-3 for x in (1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3)]
    )
    policy = trainable_policy(str(folder), LORA, 0)
    per_epoch = sum(
        len(policy.format.prompt_ids(r.prompt)) + len(policy.format.completion_ids(r.prompt, r.completion))
        for r in demonstrations()
    )
    assert sum(row["tokens"] for row in seen) == 2 * per_epoch
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_full_fine_tuning_trains_a_tied_head(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "tied", tie_word_embeddings=True)
    done = train_sft(
        str(base), demonstrations(), SftSettings(epochs=4, learning_rate=1e-3, lora=None), tmp_path / "run"
    )
    seen = metrics(tmp_path / "run")
    assert seen[-1]["loss"] < seen[0]["loss"]
    weights = load_file(done.model / "model.safetensors")
    assert "lm_head.weight" not in weights
    assert CompletionLogprobs(load_model(str(done.model)).model)(Row([Group("a", (3,), ((4, 5),))])).shape == (2,)


@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_on_the_output_head_is_refused_not_ignored(tmp_path: Path, tied: bool) -> None:
    """The head's weight is read directly: an adapter there would get no gradient, and no error either."""
    from charter.training.methods import RewardSettings, train_reward

    base = tiny_folder(tmp_path / "model", tie_word_embeddings=tied)
    lora = LoraSettings(r=4, targets=("q_proj", "lm_head"))
    with pytest.raises(UserError, match="adapter is on the output head"):
        train_sft(str(base), demonstrations(), SftSettings(lora=lora), tmp_path / "sft")
    with pytest.raises(UserError, match="adapter is on the output head"):
        train_dpo(str(base), preferences(), DpoSettings(lora=lora), tmp_path / "dpo")
    with pytest.raises(UserError, match="adapter is on the output head"):
        train_reward(str(base), preferences(), RewardSettings(lora=lora), tmp_path / "reward")
    # An adapter on the embeddings is in the body, where it runs as it stands.
    inside = LoraSettings(r=4, targets=("q_proj", "embed_tokens"))
    assert train_sft(str(base), demonstrations(), SftSettings(lora=inside), tmp_path / "in").result.steps == 1
