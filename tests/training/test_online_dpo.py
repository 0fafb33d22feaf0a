"""Online DPO on tiny models: its loss by hand, what it learns, what it leaves out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, early_letters, online, reward_from, settings
from safetensors.torch import load_file
from tiny import metrics, one_by_one, tiny_folder
from torch import Tensor

from charter.errors import Unfinished, UserError
from charter.models.loading import load_model
from charter.records import Exchange
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train_on
from charter.training.methods.online_dpo import best_and_worst, pair_loss, train_online_dpo
from charter.training.methods.pairs import PairObjective
from charter.training.objective import Tally
from charter.training.rollouts import Rollout, Sample, SampledObjective

ORACLES = Path(__file__).parent / "oracles"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model", max_position_embeddings=256)


def shift(model: Any, size: float = 0.05) -> None:
    """Move the trained weights away from their start."""
    drawn = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=drawn) * size)


@pytest.mark.parametrize(("loss", "oracle", "beta"), [("dpo", "dpo", 0.3), ("ipo", "ipo", 0.4), ("slic", "slic", 0.9)])
def test_losses_and_gradients_on_given_pairs_are_trls(loss: str, oracle: str, beta: float) -> None:
    frozen = load_file(ORACLES / "losses.safetensors")
    lengths_P2 = frozen["lengths_P2"].tolist()
    groups = [Group(f"{p}", (1, 2, 3), tuple((5,) * n for n in pair)) for p, pair in enumerate(lengths_P2)]
    parts = iter(frozen["reference_N"].split(frozen["lengths_P2"].flatten().tolist()))
    sums = {group.key: torch.stack([next(parts).sum(), next(parts).sum()]) for group in groups}
    drawn = {group.key: [[0.0] * len(side) for side in group.completions] for group in groups}
    objective = SampledObjective(PairObjective(pair_loss(settings(loss=loss, beta=beta)), sums), drawn)
    logp_N = frozen["logp_N"].clone().requires_grad_()
    tally = Tally()
    total = objective.loss(logp_N, Row(groups), tally)
    total.backward()
    torch.testing.assert_close(total, frozen[f"{oracle}.losses_P"].sum(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logp_N.grad, frozen[f"{oracle}.gradient_N"], atol=1e-5, rtol=1e-5)
    assert tally.means()["logprob_gap"] == pytest.approx(float(frozen["logp_N"].abs().mean()), rel=1e-5)
    assert tally.peaks["logprob_gap_max"] == pytest.approx(float(frozen["logp_N"].abs().max()))


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_steps_loss_and_gradient_are_the_formula_on_the_models_own_logits(
    base: Path, tmp_path: Path, lora: Any, temperature: float
) -> None:
    how = settings(lora=lora, temperature=temperature, beta=0.3)
    policy, source = online(base, how, tmp_path)
    shift(policy.model)
    batch = source.batch(0)
    groups: list[Group] = list(batch.groups)
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    objective: Any = batch.objective
    tally = Tally()
    ours = objective.loss(source.logprobs(Row(groups)), Row(groups), tally)
    gradient = torch.autograd.grad(ours, trained)

    untouched: Any = load_model(str(base)).model.float()
    with torch.no_grad():
        reference = tempered(untouched, groups, temperature)
    # The trained model's own forward, without rows and exchanged layers.
    ratios = [a - b for a, b in zip(tempered(policy.model, groups, temperature), reference, strict=True)]
    margins = torch.stack([ratios[2 * i] - ratios[2 * i + 1] for i in range(len(groups))])
    theirs = (1 + torch.exp(-0.3 * margins)).log().sum()
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, trained), atol=1e-4, rtol=1e-3)
    assert abs(float(margins.sum().detach())) > 0.01
    assert tally.means()["logprob_gap"] < 1e-5
    assert tally.peaks["logprob_gap_max"] < 1e-4


def tempered(model: Any, groups: list[Group], temperature: float) -> list[Tensor]:
    """Summed log-probs of each completion under softmax(logits / temperature), each in a forward of its own."""
    sums = []
    for group in groups:
        for completion in group.completions:
            logits = model(input_ids=torch.tensor([group.prompt + completion])).logits[0].float() / temperature
            start = len(group.prompt) - 1
            logp = logits[start : start + len(completion)].log_softmax(-1)
            sums.append(logp[range(len(completion)), completion].sum())
    return sums


def test_the_oracle_above_is_one_by_one_at_temperature_one(base: Path) -> None:
    model: Any = load_model(str(base), "float32").model
    group = Group("g", (5, 6, 7), ((8, 9), (10, 11, 12)))
    torch.testing.assert_close(torch.stack(tempered(model, [group], 1.0)).sum(), one_by_one(model, [group]).sum())


def test_a_reward_rises(base: Path, tmp_path: Path) -> None:
    # All weights: under a frozen random head an adapter can hardly raise any token.
    how = settings(batch_size=6, epochs=40, samples=8, sample_tokens=16, learning_rate=5e-3, lora=None)
    done = train_online_dpo(str(base), PROMPTS, how, tmp_path, reward_from(early_letters))
    rows = metrics(tmp_path)
    assert done.result.steps == 40 == len(rows)
    early, late = (sum(row["reward"] for row in part) / 5 for part in (rows[:5], rows[-5:]))
    assert late > 2 * early
    assert rows[-1]["kl"] > 1 > abs(rows[0]["kl"])
    assert rows[-1]["kl_k3"] > 1
    assert max(row["logprob_gap_max"] for row in rows) < 0.1


def test_the_first_step_is_at_the_reference_and_everything_is_logged(base: Path, tmp_path: Path) -> None:
    how = settings(epochs=2, missing_eos_penalty=0.0)
    train_online_dpo(str(base), PROMPTS, how, tmp_path, reward_from(early_letters))
    first = metrics(tmp_path)[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert abs(first["kl"]) < 0.01 > first["kl_k3"] >= 0  # rounding of bf16, where it is native
    assert first["best_reward"] > first["reward"] > first["worst_reward"]
    assert first["pairs"] + first["ties"] + first["too_few_scored"] == 3
    for name in ("reward_std", "margin", "accuracy", "completion_tokens", "finished", "unscored", "sampled_tokens"):
        assert name in first
    parts = [first[f"seconds_{what}"] for what in ("rollout", "scoring", "reference", "update")]
    assert 0 < sum(parts) <= first["seconds"] + 0.01
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 4 * 3 * 3
    of_first = [row for row in samples if row["step"] == 1]
    assert {row["id"] for row in of_first} < {prompt.id for prompt in PROMPTS}
    assert sum(row["reward"] for row in of_first) / 9 == pytest.approx(first["reward"])
    assert sum(row["tokens"] for row in of_first) == first["sampled_tokens"]


def sample(reward: float | None, *tokens: int) -> Sample:
    return Sample("", tokens or (7,), (-1.0,) * len(tokens or (7,)), True, reward, None if reward is not None else "no")


def test_pairs_are_the_best_against_the_worst_and_the_rest_is_counted() -> None:
    rollouts = [
        Rollout("pair", (1,), (sample(2, 5), sample(None, 9), sample(3, 6), sample(-1, 7), sample(3, 8))),
        Rollout("tie", (1,), (sample(2, 5), sample(2, 6))),
        Rollout("same", (1,), (sample(2, 5), sample(1, 5))),
        Rollout("one", (1,), (sample(2, 5), sample(None, 6))),
        Rollout("none", (1,), (sample(None, 5), sample(None, 6))),
        Rollout("zero", (1,), (sample(0, 5), sample(-3, 6), sample(None, 7))),
    ]
    pairs, left = best_and_worst(rollouts)
    assert [(pair.rollout.key, pair.sides, pair.rewards) for pair in pairs] == [
        ("pair", (2, 3), (3, -1)),
        ("zero", (0, 1), (0, -3)),
    ]
    assert pairs[0].rollout.group(pairs[0].sides).completions == ((6,), (7,))
    assert left == {"ties": 2, "too_few_scored": 2}


def test_a_step_without_pairs_leaves_the_weights_and_is_logged(base: Path, tmp_path: Path) -> None:
    how = settings(lora=None, learning_rate=1e-2, weight_decay=0.5, epochs=2)
    train_online_dpo(str(base), PROMPTS, how, tmp_path, reward_from(lambda _: 1.0))
    rows = metrics(tmp_path)
    assert [(row["pairs"], row["ties"], row["tokens"], "loss" in row) for row in rows] == [(0, 3, 0, False)] * 4
    assert all(row["reward"] == 1 and row["reward_std"] == 0 for row in rows)
    before, after = (load_file(where / "model.safetensors") for where in (base, tmp_path / "model"))
    assert all(torch.equal(before[name].to(value.dtype), value) for name, value in after.items())


def failing(row: Exchange) -> Any:
    number = int(row.id.rpartition("/")[2])
    if number == 0:
        raise RuntimeError("no power")
    return float("nan") if number == 1 else len(row.completion)


def test_a_reward_that_raises_or_is_nan_leaves_its_samples_unscored(base: Path, tmp_path: Path) -> None:
    how = settings(samples=5)
    train_online_dpo(str(base), PROMPTS, how, tmp_path, reward_from(failing))
    rows = metrics(tmp_path)
    assert [row["unscored"] for row in rows] == [6, 6]
    assert all(math.isfinite(row["loss"]) for row in rows)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    by_number = {number: [row for row in samples if row["sample"] == number] for number in range(5)}
    assert all("RuntimeError: no power" in row["unscored"] and "reward" not in row for row in by_number[0])
    assert all("no finite number" in row["unscored"] for row in by_number[1])
    assert all(row["reward"] == len(row["text"]) for number in (2, 3, 4) for row in by_number[number])


def test_a_run_that_nothing_scores_stops_and_says_why(base: Path, tmp_path: Path) -> None:
    def broken(_: Exchange) -> float:
        raise ConnectionError("the judge is down")

    with pytest.raises(Unfinished, match=r"last 5 rollouts up to step 5 .*the judge is down"):
        train_online_dpo(str(base), PROMPTS, settings(epochs=9), tmp_path, reward_from(broken))
    assert [row["unscored"] for row in metrics(tmp_path)] == [9] * 4


def test_an_adapter_of_an_earlier_stage_is_the_reference_and_goes_on_training(base: Path, tmp_path: Path) -> None:
    how = settings(epochs=3, learning_rate=2e-2)
    first = train_online_dpo(str(base), PROMPTS, how, tmp_path / "1", reward_from(early_letters))
    assert abs(metrics(tmp_path / "1")[-1]["kl"]) > 0.05
    second = train_online_dpo(str(first.model), PROMPTS, how, tmp_path / "2", reward_from(early_letters))
    assert abs(metrics(tmp_path / "2")[0]["kl"]) < 0.01
    config = json.loads((second.model / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    weights = [load_file(done.model / "adapter_model.safetensors") for done in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert not any(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing does nothing"),
        ({"samples": 1}, "greater than or equal to 2"),
        ({"temperature": 0}, "greater than 0"),
        ({"sample_tokens": 64, "max_tokens": 64}, "sample_tokens must be below"),
        ({"reward": []}, "at least 1 item"),
        ({"reward": [{"judge": "refusal", "model": "x"}]}, "just one of model, stage, judge, function"),
        ({"reward": [{"judge": "refusal", "weight": 0}]}, "other than 0"),
        ({"reward": [{"judge": "refusal", "read": "worst"}]}, "read does nothing"),
        ({"reward": [{"model": "x", "penalty": 2}]}, "penalty does nothing"),
    ],
)
def test_options_that_would_do_nothing_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(**wrong)


def test_many_processes_are_refused(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="without torchrun"):
        online(base, settings(), tmp_path)


def test_log_probs_at_a_temperature_are_checked_against_the_model(base: Path) -> None:
    model: Any = load_model(str(base), "float32").model
    group = Group("g", (5, 6, 7), ((8, 9), (10, 11, 12)))
    ours = CompletionLogprobs(model, temperature=0.5)(Row([group])).sum()
    torch.testing.assert_close(ours, torch.stack(tempered(model, [group], 0.5)).sum(), atol=1e-5, rtol=1e-5)


def test_the_split_into_forward_passes_changes_nothing(base: Path, tmp_path: Path) -> None:
    def run(row_tokens: int) -> tuple[list[Any], list[torch.Tensor]]:
        # A large epsilon: with 1e-8 the first Adam step is the sign of the gradient, which rounding can flip.
        how = settings(row_tokens=row_tokens, epochs=2, eps=1e-2, learning_rate=0.05)
        policy, source = online(base, how, tmp_path / str(row_tokens))
        train_on(source, source.logprobs, how, tmp_path / str(row_tokens), title="test")
        names = ("loss", "margin", "kl", "reward", "grad_norm", "tokens")
        seen = [[row[name] for name in names] for row in metrics(tmp_path / str(row_tokens))]
        return seen, [p.detach() for p in policy.model.parameters() if p.requires_grad]

    one_row, split = run(4096), run(16)
    torch.testing.assert_close(torch.tensor(split[0]), torch.tensor(one_row[0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(split[1], one_row[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_on_in_training_and_off_in_sampling_and_for_the_reference(
    base: Path, tmp_path: Path, dropout: float
) -> None:
    how = settings(lora={"r": 4, "alpha": 8, "dropout": dropout}, epochs=3, learning_rate=2e-2)
    _, source = online(base, how, tmp_path)
    train_on(source, source.logprobs, how, tmp_path, title="test")
    rows = metrics(tmp_path)
    # The adapter starts at zero, where dropout shows nothing; the KL would be of two dropped forwards.
    assert rows[0]["logprob_gap_max"] < 1e-4
    assert (rows[-1]["logprob_gap"] > 1e-3) == bool(dropout)
    assert abs(rows[0]["kl"]) < 1e-4
