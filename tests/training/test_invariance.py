"""What must not change a result: order, packing and the split of a batch; and what must: dropout, seeds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import VOCABULARY, groups_of, tiny_model, with_lora

from charter.training.attention import row_attention
from charter.training.catalogue import CATALOGUE
from charter.training.divergence import Comparison
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train
from charter.training.methods import chi_po, dpo, ipo, ipo_mean, orpo, robust_dpo, simpo, slic
from charter.training.methods.kl import KlObjective
from charter.training.methods.kto import KtoObjective, mismatched
from charter.training.methods.likelihood import SftObjective
from charter.training.methods.pairs import PairLoss, PairObjective
from charter.training.scoring import completion_logprob_sums
from charter.training.settings import TrainSettings
from charter.training.toptokens import kept_tokens

few = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
LENGTHS = st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 12))


@few
@given(st.lists(LENGTHS, min_size=2, max_size=6), st.integers(0, 20), st.randoms(use_true_random=False))
def test_a_groups_logprobs_do_not_depend_on_its_row_mates(
    shapes: list[tuple[int, ...]], shared: int, random: Any
) -> None:
    model = tiny_model("gemma3, windows")
    groups = groups_of(*shapes, shared=shared)
    logprobs = CompletionLogprobs(model)
    shuffled = list(groups)
    random.shuffle(shuffled)
    with torch.no_grad():
        alone = {g.key: logprobs(Row([g])) for g in groups}
        parts = logprobs(Row(shuffled)).split([sum(map(len, g.completions)) for g in shuffled])
    for group, part in zip(shuffled, parts, strict=True):
        torch.testing.assert_close(part, alone[group.key], atol=1e-4, rtol=1e-4)


PAIRS: dict[str, PairLoss] = {
    "dpo": dpo.pair_loss(dpo.DpoSettings(beta=0.3, sft_weight=0.2, label_smoothing=0.1, length_desensitisation=0.5)),
    "robust_dpo": robust_dpo.pair_loss(robust_dpo.RobustDpoSettings(beta=0.3)),
    "ipo": ipo.pair_loss(ipo.IpoSettings(beta=0.2)),
    "ipo_mean": ipo_mean.pair_loss(ipo_mean.IpoMeanSettings(beta=0.2)),
    "slic": slic.pair_loss(slic.SlicSettings(beta=0.05, sft_weight=0.2)),
    "chi_po": chi_po.pair_loss(chi_po.ChiPoSettings(beta=0.01)),
    "simpo": simpo.pair_loss(simpo.SimpoSettings(sft_weight=0.2)),
    "orpo": orpo.pair_loss(orpo.OrpoSettings()),
}


def objective_of(method: str, groups: list[Group]) -> Any:
    """The method's objective, every group with a weight of its own."""
    ordered = sorted(groups, key=lambda g: g.key)
    weights = {g.key: (1 + i) / (1 + len(groups)) for i, g in enumerate(ordered)}
    sft = SftObjective(weights, 2, 3.0)
    if method == "sft":
        return sft
    if method == "sft near its base":  # with adapters only: the adapters' B is random, so the base is elsewhere
        return KlObjective(sft, Comparison("reverse"), None, 0.5)
    # A reference apart from the policy: at a margin of zero every pair would have the same gradient.
    reference = CompletionLogprobs(tiny_model(seed=4))
    if method == "distill":
        folder = Path(mkdtemp())
        kept = kept_tokens(
            lambda: reference, ordered, 64, "", folder, k=9, temperature=2.0, vocabulary=VOCABULARY, title="teacher"
        )
        return KlObjective(sft, Comparison("forward", 2.0), kept, 1.0, nll_weight=0.3)
    if method == "kto":
        sums = completion_logprob_sums(reference, [*groups, *mismatched(groups)], 64, "reference")
        return KtoObjective(sums, {g.key: i % 2 == 0 for i, g in enumerate(ordered)}, weights, 0.1, 1.3, 0.7)
    how = PAIRS[method]
    sums = completion_logprob_sums(reference, groups, 64, "reference", how.tail_weight)
    return PairObjective(how, sums if how.reference else None, weights)


def weights_after(
    groups: list[Group], method: str, row_tokens: int, *, lora: bool
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """(losses, trained weights) of three optimiser steps over all groups at once."""
    model: Any = with_lora(tiny_model()) if lora else tiny_model()
    objective = objective_of(method, groups)
    # A large epsilon: with 1e-8 the first Adam step is the sign of the gradient, which rounding can flip near zero.
    how = TrainSettings(epochs=3, batch_size=len(groups), row_tokens=row_tokens, eps=1e-2, learning_rate=0.05)
    seen: list[float] = []
    with TemporaryDirectory() as folder:
        train(model, objective, groups, how, Path(folder), title="test")
        import json

        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        seen = [json.loads(line)["loss"] for line in lines]
    return seen, {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


POLICIES = [name for name, entry in CATALOGUE.items() if entry.gives == "policy" and entry.reads != "prompts"]


@pytest.mark.parametrize(
    ("method", "lora"), [*((name, lora) for name in POLICIES for lora in (False, True)), ("sft near its base", True)]
)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(shapes=st.lists(LENGTHS, min_size=3, max_size=6), budget=st.integers(2, 80), seed=st.integers(0, 9))
def test_splitting_a_batch_changes_neither_loss_nor_weights(
    method: str, lora: bool, shapes: list[tuple[int, ...]], budget: int, seed: int
) -> None:
    groups = groups_of(*(shape if method in PAIRS else shape[:2] for shape in shapes), seed=seed)
    one_row = weights_after(groups, method, 10_000, lora=lora)
    split = weights_after(groups[::-1], method, budget, lora=lora)
    start = dict((with_lora(tiny_model()) if lora else tiny_model()).named_parameters())
    # Robust DPO's loss is a difference of terms of order one, which can all but cancel: rounding is absolute there.
    assert split[0] == pytest.approx(one_row[0], rel=1e-4, abs=1e-6)
    for name, weight in one_row[1].items():
        torch.testing.assert_close(split[1][name], weight, atol=1e-4, rtol=1e-4)
    assert any((weight - start[name]).abs().max() > 1e-2 for name, weight in one_row[1].items())


def test_loss_of_a_batch_is_the_token_mean_of_one_by_one_losses(tmp_path: Path) -> None:
    import json

    from tiny import one_by_one

    groups = groups_of((4, 3), (9, 12), (2, 1))
    model = tiny_model()
    with torch.no_grad():
        want = -one_by_one(model, groups).mean().item()
    how = TrainSettings(batch_size=3, row_tokens=12)
    train(model, SftObjective({g.key: 1.0 for g in groups}), groups, how, tmp_path, title="test")
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == pytest.approx(want, abs=1e-4)


def test_attention_dropout_is_drawn_in_training_only_and_from_the_seed() -> None:
    model = tiny_model("llama, tied", attention_dropout=0.5)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    logprobs, row = CompletionLogprobs(model), Row(groups_of((9, 5, 6)))

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            return logprobs(row)

    assert torch.equal(drawn(0), drawn(1))
    logprobs.train()
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.allclose(drawn(0), drawn(1), atol=1e-2)


def test_dropped_attention_is_right_on_average() -> None:
    row = Row(groups_of((6, 4, 5)))
    made = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, row.tokens, 8, generator=made) for heads in (4, 2, 2))
    module = torch.nn.Module()
    torch.manual_seed(0)
    whole, _ = row_attention(module, query, key, value, None, row_layout=row.layout)
    many = [row_attention(module, query, key, value, None, dropout=0.3, row_layout=row.layout)[0] for _ in range(600)]
    spread = torch.stack(many).std(0) / 600**0.5
    assert ((torch.stack(many).mean(0) - whole).abs() <= 5 * spread + 1e-4).all()
    assert spread.max() > 1e-3


def test_lora_dropout_is_honoured() -> None:
    model = with_lora(tiny_model(), dropout=0.5)
    logprobs, row = CompletionLogprobs(model).train(), Row(groups_of((9, 5, 6)))
    torch.manual_seed(0)
    first = logprobs(row)
    assert not torch.allclose(first, logprobs(row), atol=1e-3)
    torch.manual_seed(0)
    assert torch.equal(first, logprobs(row))


def test_attention_that_cannot_be_right_is_refused() -> None:
    row = Row(groups_of((3, 2)))
    x = torch.randn(1, 2, row.tokens, 4)
    with pytest.raises(RuntimeError, match="did not pass"):
        row_attention(torch.nn.Module(), x, x, x, None)
    with pytest.raises(RuntimeError, match="mask of its own"):
        row_attention(torch.nn.Module(), x, x, x, torch.ones(1), row_layout=row.layout)
