"""Process reward models: where steps are read, TRL's labels and losses, what is saved and scored, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from test_oracles import ORACLES, in_order, losses_of, tiny_llama
from tiny import byte_tokenizer, groups_of, metrics, tiny_folder, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from charter.errors import UserError
from charter.models.lora import LoraSettings, add_lora
from charter.models.reward_head import RewardHead, find_head, new_head
from charter.models.template import chat_format
from charter.records import Exchange, Stepwise, user_prompt
from charter.training.layout import Group, Row
from charter.training.methods import ProcessSettings, train_reward_process
from charter.training.methods.reward_process import ProcessObjective
from charter.training.objective import Tally
from charter.training.reward_model import RewardModel
from charter.training.rewards import CompletionRewards
from charter.training.steps import step_groups, step_ids, steps_of, whole_reward

LORA = LoraSettings(r=4, alpha=8)
SEPARATOR = "w59 w58"


@pytest.fixture(scope="module")
def frozen() -> dict[str, Tensor]:
    return load_file(ORACLES / "process.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model", initializer_range=0.2)


def rows(count: int = 8) -> list[Stepwise]:
    """Steps that say "so" are right, those that say "no" are wrong."""
    made = []
    for i in range(count):
        right = [(i >> k) % 2 == 0 for k in range(2 + i % 2)]
        steps = tuple(f"{'so' if good else 'no'}, {i}" for good in right)
        made.append(Stepwise(f"p{i}", user_prompt(f"Say {i}."), steps, tuple(map(float, right))))
    return made


def frozen_groups(frozen: dict[str, Tensor], name: str) -> tuple[list[Group], dict[str, tuple[float, ...]]]:
    """TRL's own token ids and labels, as groups that are read where it put a label."""
    groups, labels = [], {}
    columns = (frozen[f"{name}.{column}_RT"].tolist() for column in ("input_ids", "labels"))
    for i, (ids, marks, prompt) in enumerate(zip(*columns, frozen["prompt_R"].tolist(), strict=True)):
        ids = [x for x in ids if x]
        read = [place for place, mark in enumerate(marks) if mark != -100]
        reads = (tuple(place - prompt for place in read),)
        groups.append(Group(f"{i:02}", tuple(ids[:prompt]), (tuple(ids[prompt:]),), reads))
        labels[f"{i:02}"] = tuple(float(marks[place]) for place in read)
    return groups, labels


def word_format() -> Any:
    vocabulary = {"<pad>": 0, "<end>": 1, **{f"w{i}": i + 2 for i in range(60)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }} {% if m.role == 'assistant' %}<end>{% endif %}{% endfor %}"
    )
    return chat_format(tokenizer)


@pytest.mark.parametrize("last", [False, True])
def test_steps_stand_and_are_read_where_trl_puts_its_labels(frozen: dict[str, Tensor], last: bool) -> None:
    format_ = word_format()
    whole, all_labels = frozen_groups(frozen, "all")
    want, labels = frozen_groups(frozen, "last" if last else "all")
    records = []
    for group in whole:
        text = format_.tokenizer.decode(list(group.completions[0]))
        steps = tuple(step.strip() for step in text.split(SEPARATOR)[:-1])
        prompt = format_.tokenizer.decode(list(group.prompt))
        records.append(Stepwise(group.key, user_prompt(prompt), steps, all_labels[group.key]))
    got, ours, dropped = step_groups(records, format_, 1000, SEPARATOR, last_only=last)
    assert (got, ours, dict(dropped)) == (want, labels, {})


@pytest.mark.parametrize("name", ["full", "full_last", "lora"])
def test_ten_steps_are_trls(name: str, frozen: dict[str, Tensor], tmp_path: Path) -> None:
    model: Any = tiny_llama(load_file(ORACLES / "trainers.safetensors"))
    model.get_output_embeddings().requires_grad_(False)
    if name == "lora":
        model = add_lora(model, LORA, 0)
        start = {key.removeprefix("adapter."): x for key, x in frozen.items() if key.startswith("adapter.")}
        weights = {key: p for key, p in model.named_parameters() if "lora_" in key}
        assert weights.keys() == start.keys()
        with torch.no_grad():
            for key, weight in weights.items():
                weight.copy_(start[key])
    groups, labels = frozen_groups(frozen, "last" if name == "full_last" else "all")
    forward = CompletionRewards(model, RewardHead(frozen["head_KD"].clone(), torch.zeros(1), "process"))
    seen = losses_of(model, ProcessObjective(labels, {}), in_order(groups), tmp_path, forward)
    assert seen == pytest.approx(frozen[f"{name}.losses"].tolist(), abs=1e-3)


@pytest.mark.parametrize("chances", [True, False])
def test_the_loss_and_its_gradient_are_those_of_two_logits_or_of_squares(chances: bool) -> None:
    """Cross-entropy of (0, z), as a classifier of tokens computes it; squares for numbers."""
    groups = [Group(f"{i}", (1, 2), (tuple(range(3, 9)),), (tuple(range(i + 1)),)) for i in range(4)]
    drawn = torch.Generator().manual_seed(0)
    values = (3 * torch.randn(10, 2, generator=drawn)).requires_grad_()
    flat = torch.tensor([0, 1, 1, 0, 1, 1, 0, 0, 1, 0.0])
    labels = {"0": (0.0,), "1": (1.0, 1.0), "2": (0.0, 1.0, 1.0), "3": (0.0, 0.0, 1.0, 0.0)}
    counts = {str(i): torch.tensor([i, 2.0 - i % 2]) for i in range(4)}
    got = ProcessObjective(labels, counts, chances).loss(values, Row(groups), Tally())
    times = torch.cat([counts[str(i)].expand(i + 1, 2) for i in range(4)])
    if chances:
        logits = torch.stack([torch.zeros_like(values), values], -1)
        each = F.cross_entropy(logits.view(-1, 2), flat.long().repeat_interleave(2), reduction="none").view(10, 2)
    else:
        each = (values - flat[:, None]) ** 2
    want = (each * times).sum() / 2
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(x, values, retain_graph=True)[0] for x in (got, want)))


def test_a_step_sees_nothing_of_later_ones_and_rewards_are_those_of_cut_completions() -> None:
    model = tiny_model("gemma3, windows")
    forward = CompletionRewards(model, new_head(32, 2, 0, "process", bias=True))
    (one, two) = groups_of((5, 9), (7, 12), shared=4)
    reads = ((1, 4, 8), (0, 11))
    with torch.no_grad():
        got = forward(
            Row([Group(g.key, g.prompt, g.completions, (r,)) for g, r in zip((one, two), reads, strict=True)])
        )
        cut = [
            forward(Row([Group("cut", g.prompt, (g.completions[0][: place + 1],))]))[0]
            for g, r in zip((one, two), reads, strict=True)
            for place in r
        ]
    torch.testing.assert_close(got, torch.stack(cut), atol=1e-5, rtol=1e-5)


def test_what_is_scored_is_cut_as_what_was_trained() -> None:
    format_ = chat_format(byte_tokenizer(eos_token="<|im_end|>"))
    prompt = user_prompt("Why?")
    row = Stepwise("a", prompt, ("One\n", " two", "three"), (1, 0, 1))
    (group,), labels, _ = step_groups([row], format_, 99, "\n\n", last_only=False)
    written = "One\n\n\n two\n\nthree"
    for text in (written, written + "\n\n"):
        assert step_ids(format_, prompt, steps_of(text, "\n\n"), "\n\n") == (group.completions[0], group.reads[0])
    assert labels == {"a": (1, 0, 1)}
    decoded = [format_.tokenizer.decode(list(group.completions[0][: place + 1])) for place in group.reads[0]]
    assert [text[-2:] for text in decoded] == ["\n\n"] * 3
    assert len(steps_of("a\n\n\n \n\nb", "\n\n")) == 2


def test_steps_that_cannot_be_told_apart_are_counted() -> None:
    format_ = chat_format(byte_tokenizer(eos_token="<|im_end|>"))
    prompt = user_prompt("Why?")
    bad = [
        Stepwise("inside", prompt, ("a\nb", "c"), (1, 0)),
        Stepwise("empty", prompt, ("a", " "), (1, 0)),
        Stepwise("long", prompt, ("a" * 99,), (1,)),
    ]
    groups, labels, dropped = step_groups(bad, format_, 90, "\n", last_only=False)
    assert (groups, labels) == ([], {})
    assert dict(dropped) == {"a step is empty or has the separator inside": 2, "longer than 90 tokens": 1}


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_whole_of_steps(scores: list[float]) -> None:
    assert whole_reward(scores, "product") == pytest.approx(math.exp(sum(map(math.log, scores))))
    assert whole_reward(scores, "product") <= whole_reward(scores, "min") <= whole_reward(scores, "mean") + 1e-12
    assert whole_reward(scores, "last") == scores[-1]


@pytest.mark.parametrize("lora", [None, LORA])
def test_right_steps_are_told_from_wrong_ones_and_the_head_is_reloaded(
    folder: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    how = ProcessSettings(epochs=25, batch_size=4, learning_rate=1e-2 if lora else 3e-3, lora=lora, heads=2)
    done = train_reward_process(str(folder), rows(), how, tmp_path)
    seen = metrics(tmp_path)
    assert seen[-1]["accuracy"] == seen[-1]["wrong_found"] == 1.0
    assert seen[-1]["loss"] < 0.5 * seen[0]["loss"]
    head = find_head(str(done.model))
    assert head is not None
    assert (head.kind, head.heads, head.steps) == ("process", 2, head.steps)
    assert head.steps is not None
    assert (head.steps.separator, head.steps.whole, head.steps.chances) == ("\n", "min", True)
    model = RewardModel(str(done.model))
    found = model.reward([Exchange(r.id, r.prompt, "\n".join(r.steps)) for r in rows()])
    for row, one in zip(rows(), found, strict=True):
        assert [score > 0.5 for score in one.steps] == [label == 1 for label in row.labels]
        assert one.reward == min(one.steps)
        assert all(0 <= score <= 1 for score in one.steps)


def test_the_whole_is_saved_with_the_head(folder: Path, tmp_path: Path) -> None:
    asked = [Exchange("a", user_prompt("Say 1."), "so, 1\nno, 2\nso, 3"), Exchange("b", user_prompt("Say 2."), " \n")]
    for whole in ("min", "product", "mean", "last"):
        how = ProcessSettings(batch_size=4, lora=LORA, whole=whole)
        done = train_reward_process(str(folder), rows(), how, tmp_path / whole)
        scored, empty = RewardModel(str(done.model)).reward(asked)
        assert len(scored.steps) == 3
        assert scored.reward == pytest.approx(whole_reward(scored.steps, whole))
        assert empty.unscored == "the completion has no step"


def test_numbers_are_learned_in_their_own_units(folder: Path, tmp_path: Path) -> None:
    graded = [Stepwise(r.id, r.prompt, r.steps, tuple(10 * x + 5 for x in r.labels)) for r in rows()]
    how = ProcessSettings(epochs=25, batch_size=4, learning_rate=1e-2, lora=LORA, whole="mean")
    done = train_reward_process(str(folder), graded, how, tmp_path)
    assert metrics(tmp_path)[-1]["mean_error"] < 2
    found = RewardModel(str(done.model)).reward([Exchange(r.id, r.prompt, "\n".join(r.steps)) for r in graded])
    for row, one in zip(graded, found, strict=True):
        assert one.steps == pytest.approx(row.labels, abs=4)
    # It goes on in the same units, and refuses other ones.
    more = how.model_copy(update={"epochs": 1})
    again = train_reward_process(str(done.model), graded, more, tmp_path / "more")
    assert metrics(tmp_path / "more")[0]["mean_error"] < 2
    assert (found_head := find_head(str(again.model))) is not None
    assert found_head.scale == pytest.approx(find_head(str(done.model)).scale)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="and gives numbers; these settings and labels ask for another"):
        train_reward_process(str(done.model), rows(), how, tmp_path / "other")


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        ((1.0, 1.0), {}, "has the label 1; that leaves nothing to learn"),
        ((1.0, 3.0), {"labels": "chances"}, r"row p0 has the label 3, which is no chance in \[0, 1\]"),
        ((1.0, 3.0), {"whole": "product"}, "`whole: product` is of chances"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(
    labels: tuple[float, ...], options: dict[str, Any], says: str, folder: Path, tmp_path: Path
) -> None:
    one = [Stepwise("p0", user_prompt("Say 1."), ("so", "no"), labels)]
    with pytest.raises(UserError, match=says):
        train_reward_process(str(folder), one, ProcessSettings(lora=LORA, **options), tmp_path)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="set `whole: last`"):
        ProcessSettings(last_step_only=True)
    with pytest.raises(ValidationError, match="take min, mean or last"):
        ProcessSettings(labels="numbers", whole="product")
