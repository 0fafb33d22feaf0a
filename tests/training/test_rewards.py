"""Reward heads on shared-prompt rows: where they are read, that nothing moves them, and that they are never lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CONFIGS, exchanges, groups_of, metrics, preferences, tiny_folder, tiny_model, with_lora

from charter.errors import UserError
from charter.models.lora import LoraSettings
from charter.models.reward_head import CONFIG, find_head, new_head
from charter.records import user_prompt
from charter.training.bootstrap import bootstrap_counts
from charter.training.layout import Group, Row
from charter.training.loop import train
from charter.training.methods.reward import RewardObjective
from charter.training.policy import trainable_policy
from charter.training.reward_model import RewardModel, read_heads
from charter.training.rewards import CompletionRewards, reward_policy
from charter.training.settings import TrainSettings

LORA = LoraSettings(r=4, alpha=8)
SHAPES = ((5, 4, 9), (8, 11, 3), (20, 7, 7), (2, 1, 30))
few = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model")


def alone(model: Any, head: Any, groups: list[Group]) -> torch.Tensor:
    """Rewards from the model's own hidden states, each completion by itself, read at its very last token."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    rows = []
    for group in groups:
        for completion in group.completions:
            ids = torch.tensor([group.prompt + completion])
            rows.append(head.weight @ inner.base_model(input_ids=ids).last_hidden_state[0, -1].float())
    return torch.stack(rows)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_rewards_and_gradients_are_those_of_one_by_one_forwards(name: str, lora: bool) -> None:
    off = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if name == "gpt2" else {}
    model: Any = with_lora(tiny_model(name, **off)) if lora else tiny_model(name, **off)
    head = new_head(32, 3, 0, "reward", bias=False)
    groups = groups_of(*SHAPES, shared=9)
    forward = CompletionRewards(model, head)
    ours, theirs = forward(Row(groups)), alone(model, head, groups)
    assert ours.shape == (8, 3)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    trained = [p for p in forward.parameters() if p.requires_grad]
    assert any(p is head.weight for p in trained)
    mix = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    got, want = (torch.autograd.grad((x * mix).sum(), trained, allow_unused=True) for x in (ours, theirs))
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None) or not torch.as_tensor(a if b is None else b).any()
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_the_reward_is_read_at_the_last_token_and_at_no_other() -> None:
    model = tiny_model()
    head = new_head(32, 1, 0, "reward", bias=False)
    forward = CompletionRewards(model, head)
    group = Group("a", (5, 6, 7), ((8, 9, 2), (10, 2)))
    row = Row([group])
    assert row.input_ids_T[row.read_R].tolist() == [2, 2]
    with torch.no_grad():
        before = forward(row)
        # Another end changes the reward of that completion; the tokens of the other one never do.
        after = forward(Row([Group("a", (5, 6, 7), ((8, 9, 3), (10, 2)))]))
        shorter = forward(Row([Group("a", (5, 6, 7), ((8, 9), (10, 2)))]))
    assert (before[0] - after[0]).abs() > 1e-3
    assert (before[0] - shorter[0]).abs() > 1e-3
    torch.testing.assert_close(before[1], after[1])
    torch.testing.assert_close(before[1], shorter[1], atol=1e-5, rtol=1e-5)


def test_the_last_token_of_a_scored_completion_is_the_end_of_turn(folder: Path) -> None:
    policy = trainable_policy(str(folder), LORA, 0)
    prompt = user_prompt("Say 1.")
    ids = policy.format.completion_ids(prompt, "Gladly.")
    row = Row([Group("a", policy.format.prompt_ids(prompt), (ids, ids[:-1]))])
    assert row.input_ids_T[row.read_R[0]] == policy.format.end_of_turn
    assert row.input_ids_T[row.read_R[1]] != policy.format.end_of_turn


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_and_two_forwards_before_a_backward(checkpointing: bool) -> None:
    model = tiny_model("gemma3, windows")
    head = new_head(32, 2, 0, "reward", bias=False)
    first, second = groups_of(*SHAPES, shared=9), groups_of((3, 4), (9, 30), seed=5)
    theirs = alone(model, head, first), alone(model, head, second)
    forward = CompletionRewards(model, head).train()
    forward.checkpoint_gradients(checkpointing)
    ours = forward(Row(first)), forward(Row(second))
    weights = [head.weight, model.model.layers[0].mlp.up_proj.weight]
    for which in (1, 0):
        got, want = (torch.autograd.grad(side[which].square().sum(), weights) for side in (ours, theirs))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


LENGTHS = st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 12))


@few
@given(st.lists(LENGTHS, min_size=2, max_size=6), st.integers(0, 20), st.randoms(use_true_random=False))
def test_a_groups_rewards_do_not_depend_on_its_row_mates(
    shapes: list[tuple[int, ...]], shared: int, random: Any
) -> None:
    forward = CompletionRewards(tiny_model("gemma3, windows"), new_head(32, 2, 0, "reward", bias=True))
    groups = groups_of(*shapes, shared=shared)
    shuffled = list(groups)
    random.shuffle(shuffled)
    with torch.no_grad():
        apart = {g.key: forward(Row([g])) for g in groups}
        parts = forward(Row(shuffled)).split(2)
    for group, part in zip(shuffled, parts, strict=True):
        torch.testing.assert_close(part, apart[group.key], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lora", [False, True])
@few
@given(st.lists(LENGTHS, min_size=3, max_size=6), st.integers(2, 80), st.integers(0, 9))
def test_splitting_a_batch_changes_neither_loss_nor_weights(
    lora: bool, shapes: list[tuple[int, ...]], budget: int, seed: int
) -> None:
    import tempfile

    groups = groups_of(*shapes, seed=seed)
    strengths = {g.key: (1 + i) / (1 + len(groups)) for i, g in enumerate(groups)}
    counts = bootstrap_counts([g.key for g in groups], 3, 0)

    def run(order: list[Group], row_tokens: int) -> tuple[list[float], list[torch.Tensor]]:
        model: Any = with_lora(tiny_model()) if lora else tiny_model()
        forward = CompletionRewards(model, new_head(32, 3, 0, "reward", bias=False))
        how = TrainSettings(epochs=3, batch_size=len(groups), row_tokens=row_tokens, eps=1e-2, learning_rate=0.05)
        objective = RewardObjective({g.key: 0.5 for g in groups}, strengths, counts, 0.01)
        with tempfile.TemporaryDirectory() as where:
            train(model, objective, order, how, Path(where), title="test", forward=forward)
            losses = [row["loss"] for row in metrics(Path(where))]
        return losses, [p.detach().clone() for p in forward.parameters() if p.requires_grad]

    one_row, split = run(groups, 10_000), run(groups[::-1], budget)
    assert split[0] == pytest.approx(one_row[0], rel=1e-4)
    for a, b in zip(split[1], one_row[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("lora", [None, LORA])
def test_what_was_trained_is_what_is_reloaded(
    folder: Path, tmp_path: Path, lora: LoraSettings | None, heads: int
) -> None:
    """The head lost under LoRA: saved without it, a fresh random one would be read."""
    policy, head = reward_policy(str(folder), lora, 0, "reward", heads, bias=True)
    drawn = torch.Generator().manual_seed(0)
    forward = CompletionRewards(policy.model, head)
    with torch.no_grad():
        for weight in forward.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=drawn).to(weight.dtype) * 0.05)
    asked = exchanges(preferences(4))
    groups = [
        Group(r.id, policy.format.prompt_ids(r.prompt), (policy.format.completion_ids(r.prompt, r.completion),))
        for r in asked
    ]
    forward.eval()
    with torch.no_grad():
        before = [forward(Row([group]))[0] for group in groups]
    policy.save(tmp_path / "model")
    assert (tmp_path / "model" / "adapter_config.json").exists() == (lora is not None)
    dtype: Any = str(policy.model.dtype).removeprefix("torch.")
    again = RewardModel(str(tmp_path / "model"), dtype=dtype)
    # One at a time: a row's other members change the last bits of a matrix product.
    for row, values in zip(asked, before, strict=True):
        (found,) = again.reward([row])
        assert list(found.heads) == values.tolist()
    assert again.heads == heads


def test_reads_written_out() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    assert read_heads(values, "mean").tolist() == [2, 5]
    assert read_heads(values, "worst").tolist() == [1, 5]
    assert read_heads(values, "penalised", 0.5).tolist() == [1.5, 5]


def test_bootstraps_draw_with_replacement_and_from_a_stream_of_their_own() -> None:
    keys = [f"k{i}" for i in range(400)]
    counts = bootstrap_counts(keys, 3, 7)
    table = torch.stack([counts[key] for key in sorted(keys)])
    assert table.sum(0).tolist() == [400, 400, 400]
    # A row is left out of a bootstrap with chance 1/e.
    assert (table == 0).float().mean().item() == pytest.approx(0.368, abs=0.05)
    assert not torch.equal(table[:, 0], table[:, 1])
    assert all(torch.equal(counts[k], v) for k, v in bootstrap_counts(keys[::-1], 3, 7).items())
    fewer = bootstrap_counts(keys, 2, 7)
    assert all(torch.equal(counts[key][:2], fewer[key]) for key in keys)
    assert torch.equal(
        new_head(8, 3, 0, "reward", bias=False).weight[:2], new_head(8, 2, 0, "reward", bias=False).weight
    )
    assert bootstrap_counts(keys, 1, 7)["k3"].tolist() == [1]


def test_fresh_heads_have_the_spread_of_the_literature() -> None:
    head = new_head(1000, 8, 0, "reward", bias=False)
    assert head.weight.std().item() == pytest.approx(1001**-0.5, rel=0.05)


def test_heads_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a reward model"):
        RewardModel(str(folder))
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    new_head(32, 1, 0, "reward", bias=False).save(half)
    assert find_head(str(half)) is not None
    with pytest.raises(UserError, match='read "worst" would be the mean'):
        RewardModel(str(half), "worst")
    (half / CONFIG).write_text('{"heads": 2}')
    with pytest.raises(UserError, match="cannot be read"):
        RewardModel(str(half))
    (half / CONFIG).unlink()
    with pytest.raises(UserError, match="without the other half"):
        RewardModel(str(half))
    new_head(8, 1, 0, "reward", bias=False).save(half)
    with pytest.raises(UserError, match="size 8"):
        RewardModel(str(half))


def test_full_training_leaves_an_untied_output_head_alone(folder: Path) -> None:
    policy, _ = reward_policy(str(folder), None, 0, "reward", 1, bias=False)
    assert not policy.model.get_output_embeddings().weight.requires_grad
