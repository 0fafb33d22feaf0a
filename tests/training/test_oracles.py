"""Losses, gradients and whole runs against TRL, frozen under oracles/; against the paper where TRL has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from charter.models.lora import LoraSettings, add_lora
from charter.training.body import RowForward
from charter.training.catalogue import CATALOGUE
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train
from charter.training.losses import chi_po_loss
from charter.training.methods import chi_po, dpo, ipo, ipo_mean, orpo, robust_dpo, simpo, slic
from charter.training.methods.kto import KtoObjective, mismatched
from charter.training.methods.likelihood import SftObjective
from charter.training.methods.pairs import PairLoss, PairObjective
from charter.training.objective import Objective, Tally
from charter.training.scoring import completion_logprob_sums, tail_weights
from charter.training.settings import TrainSettings
from charter.training.source import batches

ORACLES = Path(__file__).parent / "oracles"
EXACT = {"atol": 1e-5, "rtol": 1e-5}

VARIANTS: dict[str, PairLoss] = {
    "dpo": dpo.pair_loss(dpo.DpoSettings(beta=0.3)),
    "ld_dpo": dpo.pair_loss(dpo.DpoSettings(beta=0.3, length_desensitisation=0.4)),
    "dpo_sft": dpo.pair_loss(dpo.DpoSettings(beta=0.3, sft_weight=0.5)),
    "cdpo": dpo.pair_loss(dpo.DpoSettings(beta=0.3, label_smoothing=0.2)),
    "robust_dpo": robust_dpo.pair_loss(robust_dpo.RobustDpoSettings(beta=0.3, label_smoothing=0.2)),
    "ipo": ipo.pair_loss(ipo.IpoSettings(beta=0.4)),
    "ipo_mean": ipo_mean.pair_loss(ipo_mean.IpoMeanSettings(beta=0.4)),
    "slic": slic.pair_loss(slic.SlicSettings(beta=0.9)),
    "simpo": simpo.pair_loss(simpo.SimpoSettings(beta=2.0, gamma=0.8)),
    "orpo": orpo.pair_loss(orpo.OrpoSettings(odds_weight=0.25)),
}


@pytest.fixture(scope="module")
def frozen() -> dict[str, Tensor]:
    return load_file(ORACLES / "losses.safetensors")


def pair_groups(lengths_P2: Tensor) -> list[Group]:
    return [
        Group(f"{p}", (1, 2, 3), tuple(tuple(range(3, 3 + n)) for n in pair))
        for p, pair in enumerate(lengths_P2.tolist())
    ]


def pair_objective(loss: PairLoss, frozen: dict[str, Tensor]) -> PairObjective:
    row = Row(pair_groups(frozen["lengths_P2"]))
    weighted_N = frozen["reference_N"] * tail_weights(row, loss.tail_weight)
    sums = [part.sum() for part in weighted_N.split(frozen["lengths_P2"].flatten().tolist())]
    reference = {g.key: torch.stack(sums[2 * i : 2 * i + 2]) for i, g in enumerate(row.groups)}
    return PairObjective(loss, reference if loss.reference else None)


@pytest.mark.parametrize("name", VARIANTS)
def test_pair_losses_and_their_gradients_are_trls(name: str, frozen: dict[str, Tensor]) -> None:
    groups = pair_groups(frozen["lengths_P2"])
    objective = pair_objective(VARIANTS[name], frozen)
    logp_N = frozen["logp_N"].clone().requires_grad_()
    total = objective.loss(logp_N, Row(groups), Tally())
    torch.testing.assert_close(total, frozen[f"{name}.losses_P"].sum(), atol=1e-5, rtol=1e-5)
    total.backward()
    torch.testing.assert_close(logp_N.grad, frozen[f"{name}.gradient_N"], **EXACT)
    parts = frozen["logp_N"].split(frozen["lengths_P2"].sum(1).tolist())
    one_by_one = [objective.loss(part, Row([g]), Tally()) for part, g in zip(parts, groups, strict=True)]
    torch.testing.assert_close(torch.stack(one_by_one), frozen[f"{name}.losses_P"], **EXACT)


def test_every_pair_method_has_an_oracle() -> None:
    of_pairs = {name for name, entry in CATALOGUE.items() if entry.reads == "preferences" and entry.gives == "policy"}
    assert of_pairs == {name for name in VARIANTS if name in CATALOGUE} | {"chi_po"}


def test_the_frozen_hinge_has_pairs_on_both_sides(frozen: dict[str, Tensor]) -> None:
    losses = frozen["slic.losses_P"]
    assert (losses > 0).any()
    assert (losses == 0).any()


def test_kto_and_its_gradient_are_trls(frozen: dict[str, Tensor]) -> None:
    lengths = frozen["lengths_P2"].flatten().tolist()
    groups = [Group(f"{c:02}", (1, 2, 3), (tuple(range(3, 3 + n)),)) for c, n in enumerate(lengths)]
    sums = [part.sum()[None] for part in frozen["reference_N"].split(lengths)]
    reference = {g.key: value for g, value in zip(groups, sums, strict=True)}
    kl = float((frozen["kl_logp_C"] - frozen["kl_reference_C"]).mean().clamp(min=0))
    desirable = {g.key: bool(label) for g, label in zip(groups, frozen["desirable_C"], strict=True)}
    objective = KtoObjective(reference, desirable, {}, 0.3, 1.3, 0.7, kl=kl)
    logp_N = frozen["logp_N"].clone().requires_grad_()
    loss = objective.loss(logp_N, Row(groups), Tally()) / sum(map(objective.weight, groups))
    loss.backward()
    torch.testing.assert_close(loss[None], frozen["kto.loss"], **EXACT)
    torch.testing.assert_close(logp_N.grad, frozen["kto.gradient_N"], **EXACT)


def test_chi_po_is_its_formula_in_float64(frozen: dict[str, Tensor]) -> None:
    beta, bound = 0.3, 1.5
    groups = pair_groups(frozen["lengths_P2"])
    loss = chi_po.pair_loss(chi_po.ChiPoSettings(beta=beta, max_reward=bound))
    objective = pair_objective(loss, frozen)
    logp_N = frozen["logp_N"].clone().requires_grad_()
    got = objective.loss(logp_N, Row(groups), Tally())
    got.backward()

    # algorithm 1 of the paper, with rho = pi / ref: phi(rho) = rho + log rho, d phi / d log pi = rho + 1
    lengths = frozen["lengths_P2"].flatten().tolist()
    ratio_N = frozen["logp_N"].double() - frozen["reference_N"].double()
    log_rho_P2 = np.array([float(part.sum()) for part in ratio_N.split(lengths)]).reshape(-1, 2)
    rho_P2 = np.exp(log_rho_P2)
    phi_P2 = rho_P2 + log_rho_P2
    inside_P = beta * (phi_P2[:, 0] - phi_P2[:, 1])
    clipped_P = np.clip(inside_P, -2 * bound, 2 * bound)
    assert (clipped_P == inside_P).any()
    assert (clipped_P != inside_P).any()
    assert got.item() == pytest.approx(np.log1p(np.exp(-clipped_P)).sum(), rel=1e-5)
    slope_P = np.where(clipped_P == inside_P, -1 / (1 + np.exp(clipped_P)), 0.0)
    sides_P2 = beta * slope_P[:, None] * (rho_P2 + 1) * np.array([1.0, -1.0])
    want_N = np.repeat(sides_P2.flatten(), lengths)
    assert logp_N.grad is not None
    np.testing.assert_allclose(logp_N.grad.numpy(), want_N, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ratio", [-1e4, -200.0, 0.0, 200.0, 1e4])
def test_losses_and_gradients_stay_finite_at_extreme_log_ratios(ratio: float) -> None:
    for name, how in {**VARIANTS, "chi_po": chi_po.pair_loss(chi_po.ChiPoSettings())}.items():
        # Scores of reference-free methods are mean log-probs, never above zero.
        chosen = torch.tensor([ratio if how.reference else min(ratio, 0.0)], requires_grad=True)
        rejected = torch.tensor([-ratio if how.reference else min(-ratio, 0.0)], requires_grad=True)
        loss = how.function(chosen, rejected)
        loss.sum().backward()
        assert all(torch.isfinite(x).all() for x in (loss, chosen.grad, rejected.grad)), name


def test_chi_po_without_a_clip_in_reach_is_dpo_plus_the_ratio_term() -> None:
    chosen, rejected = torch.tensor([0.2, -1.0]), torch.tensor([-0.4, 0.5])
    want = torch.nn.functional.softplus(-0.5 * (chosen.exp() + chosen - rejected.exp() - rejected))
    torch.testing.assert_close(chi_po_loss(chosen, rejected, 0.5, 100.0), want)


@pytest.fixture(scope="module")
def trainers() -> dict[str, Tensor]:
    return load_file(ORACLES / "trainers.safetensors")


def tiny_llama(trainers: dict[str, Tensor]) -> Any:
    config = LlamaConfig(
        vocab_size=62,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).float()
    start = {name.removeprefix("start."): x for name, x in trainers.items() if name.startswith("start.")}
    model.load_state_dict(start)
    return model.eval()


HOW = TrainSettings(batch_size=4, learning_rate=1e-2, warmup=0, schedule="linear", lora=None, row_tokens=30)


def groups_in_order(trainers: dict[str, Tensor], sides: list[list[str]]) -> list[Group]:
    """Groups of the frozen rows, as `in_order` places them."""
    ids = {
        name: [tuple(x for x in row if x >= 0) for row in trainers[f"{name}_RT"].tolist()]
        for name in ("prompt", "chosen", "rejected")
    }
    made = [Group(f"{i:02}", ids["prompt"][i], tuple(ids[side][i] for side in names)) for i, names in enumerate(sides)]
    return in_order(made)


def in_order(made: list[Group]) -> list[Group]:
    """Groups placed such that the run's own shuffle takes them in the order given."""
    order = torch.randperm(len(made), generator=torch.Generator().manual_seed(HOW.seed * 1_000_003)).tolist()
    placed: list[Any] = [None] * len(made)
    for i, group in enumerate(made):
        placed[order[i]] = group
    assert [g.key for batch in batches(placed, HOW) for g in batch] == [g.key for g in made]
    return placed


def losses_of(
    model: Any, objective: Objective, groups: list[Group], folder: Path, forward: RowForward | None = None
) -> list[float]:
    train(model, objective, groups, HOW, folder, title="test", forward=forward)
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_ten_sft_steps_are_trls(trainers: dict[str, Tensor], tmp_path: Path) -> None:
    groups = groups_in_order(trainers, [["chosen"]] * 40)
    seen = losses_of(tiny_llama(trainers), SftObjective({g.key: 1.0 for g in groups}), groups, tmp_path)
    assert seen == pytest.approx(trainers["sft.losses"].tolist(), abs=1e-3)


@pytest.mark.parametrize("lora", [False, True])
def test_ten_dpo_steps_are_trls(trainers: dict[str, Tensor], tmp_path: Path, lora: bool) -> None:
    groups = groups_in_order(trainers, [["chosen", "rejected"]] * 40)
    model = tiny_llama(trainers)
    if lora:
        model = add_lora(model, LoraSettings(r=4, alpha=8), 0)
        weights = {name: p for name, p in model.named_parameters() if "lora_" in name}
        start = {name.removeprefix("adapter."): x for name, x in trainers.items() if name.startswith("adapter.")}
        assert weights.keys() == start.keys()
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(start[name])
    reference = completion_logprob_sums(CompletionLogprobs(model), groups, 60, "reference")
    objective = PairObjective(dpo.pair_loss(dpo.DpoSettings(beta=0.3)), reference)
    seen = losses_of(model, objective, groups, tmp_path)
    assert seen == pytest.approx(trainers["dpo_lora.losses" if lora else "dpo.losses"].tolist(), abs=1e-3)


def test_ten_kto_steps_are_trls(trainers: dict[str, Tensor], tmp_path: Path) -> None:
    good = trainers["desirable_R"].tolist()
    groups = groups_in_order(trainers, [["chosen" if label else "rejected"] for label in good])
    model = tiny_llama(trainers)
    strangers = [group for batch in batches(groups, HOW) for group in mismatched(batch)]
    assert len(strangers) == 40
    reference = completion_logprob_sums(CompletionLogprobs(model), [*groups, *strangers], 60, "reference")
    desirable = {f"{i:02}": label for i, label in enumerate(good)}
    seen = losses_of(model, KtoObjective(reference, desirable, {}, 0.3, 1.2, 0.8), groups, tmp_path)
    assert seen == pytest.approx(trainers["kto.losses"].tolist(), abs=1e-3)
    logged = [json.loads(line)["kl"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(logged) > 0.1
