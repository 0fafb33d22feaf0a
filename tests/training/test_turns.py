"""Weighted turns of one conversation: the tokens that a generation-marked template marks, and the loss of each turn
taken alone, in one forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CHATML, byte_tokenizer, one_by_one, tiny_folder, tiny_model, with_lora
from tokenizers import models, pre_tokenizers

from charter.errors import UserError
from charter.models.template import chat_format
from charter.records import Demonstration, Message, as_row, demonstration_from, user_prompt
from charter.training.divergence import Comparison
from charter.training.layout import Group, Row, Turn
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods import SftSettings, train_sft
from charter.training.methods.kl import KlObjective
from charter.training.methods.likelihood import SftObjective
from charter.training.objective import Tally
from charter.training.rows import demonstration_groups, single_groups

MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen 3 does: reasoning is kept in the last turn only.
FORGETFUL = CHATML.replace(
    "{{ m.content }}",
    "{% if m.role == 'assistant' and loop.last %}<think>\n</think>\n{% endif %}{{ m.content }}",
)
FORMAT = chat_format(byte_tokenizer(MARKED))
WORDS = st.text("ab\n <", min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 3.0])


def talk(name: str, *turns: tuple[str, str, float], system: str = "") -> Demonstration:
    """A conversation of (question, answer, weight of the answer)."""
    messages = [Message("system", system)] if system else []
    for question, answer, _ in turns:
        messages += [Message("user", question), Message("assistant", answer)]
    *earlier, last = [weight for _, _, weight in turns]
    return Demonstration(name, tuple(messages[:-1]), messages[-1].content, weight=last, earlier_weights=tuple(earlier))


TALKS = [
    talk("all", ("Hi", "Hello.", 1.0), ("What is rain?", "Water, falling.", 1.0), ("Why?", "Clouds.", 1.0)),
    talk("some", ("Hi", "Hello.", 0.0), ("What is rain?", "Water.", 0.25), ("Why?", "Cold.", 2.0), system="Be short."),
    talk("gap", ("Hi", "Hello.", 1.5), ("What is rain?", "Fire!", 0.0), ("Sure?", "No: water.", 0.5)),
    talk("one", ("Hi", "Hello.", 0.7)),
]


def each_turn_alone(row: Demonstration) -> list[tuple[Demonstration, float]]:
    """The oracle's data: every turn with a weight as the last one of its own conversation."""
    places = [i for i, m in enumerate(row.prompt) if m.role == "assistant"]
    alone = [
        (Demonstration(f"{row.id}/{i}", row.prompt[:i], row.prompt[i].content), weight)
        for i, weight in zip(places, row.earlier_weights, strict=True)
    ]
    alone.append((Demonstration(f"{row.id}/last", row.prompt, row.completion), row.weight))
    return [(turn, weight) for turn, weight in alone if weight > 0]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(WORDS, WORDS, WEIGHTS), min_size=1, max_size=4), st.sampled_from(["", "Be kind."]))
def test_the_trained_tokens_are_those_that_a_marked_template_marks(
    turns: list[tuple[str, str, float]], system: str
) -> None:
    turns[-1] = (*turns[-1][:2], 1.0)
    row = talk("row", *turns, system=system)
    messages = [as_row(m) for m in (*row.prompt, Message("assistant", row.completion))]
    marked = FORMAT.tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    # The mask says where the assistant speaks; which stretch of it belongs to which turn is counted here.
    number, inside, want = -1, False, []
    for mask in marked["assistant_masks"]:
        number += bool(mask) and not inside
        inside = bool(mask)
        want.append(turns[number][2] if mask else 0.0)
    (group,), scale, _ = demonstration_groups([row], FORMAT, 10_000)
    ids = group.prompt + group.completions[0]
    got = [0.0] * len(marked["input_ids"])
    for turn in group.spoken:
        for place in range(turn.start, turn.stop):
            got[len(group.prompt) + place] = turn.weight * scale["row"]
    assert list(ids) == marked["input_ids"][: len(ids)]
    assert got == want
    ends = [ids[len(group.prompt) + turn.stop - 1] for turn in group.spoken]
    assert ends == [FORMAT.end_of_turn] * sum(weight > 0 for _, _, weight in turns)


@pytest.mark.parametrize("name", ["llama, tied", "gemma3, windows", "gpt2"])
@pytest.mark.parametrize("opening_weight", [1.0, 4.0])
def test_one_forward_gives_the_loss_and_gradients_of_each_turn_alone(name: str, opening_weight: float) -> None:
    model = tiny_model(name, vocab_size=len(FORMAT.tokenizer), **({"n_positions": 256} if name == "gpt2" else {}))
    groups, weights, dropped = demonstration_groups(TALKS, FORMAT, 10_000)
    assert (len(groups), dict(dropped)) == (len(TALKS), {})
    objective = SftObjective(weights, 3, opening_weight)
    row = Row(groups)
    total = sum(objective.weight(group) for group in groups)
    loss = objective.loss(CompletionLogprobs(model)(row), row, tally := Tally()) / total
    grads = torch.autograd.grad(loss, list(model.parameters()))

    want, count, tokens = torch.zeros(()), 0.0, 0
    plain = torch.zeros(())
    for turn, weight in (one for talk in TALKS for one in each_turn_alone(talk)):
        (alone,), _, _ = single_groups([turn], FORMAT, 10_000)
        logp = one_by_one(model, [alone])
        own = torch.tensor([weight * (opening_weight if i < 3 else 1.0) for i in range(len(logp))])
        want, count = want - (own * logp).sum(), count + own.sum()
        plain, tokens = plain - logp.detach().sum(), tokens + len(logp)
    torch.testing.assert_close(loss, want / count, atol=1e-5, rtol=1e-5)
    assert tally.means()["nll"] == pytest.approx(float(plain / tokens), rel=1e-5)
    for got, grad in zip(grads, torch.autograd.grad(want / count, list(model.parameters())), strict=True):
        torch.testing.assert_close(got, grad, atol=1e-5, rtol=1e-4)


def test_rows_without_weights_are_as_they_were() -> None:
    rows = [
        Demonstration("a", user_prompt("Hi"), "Hello.", weight=0.3),
        Demonstration("b", (*user_prompt("Hi"), Message("assistant", "Yes?"), Message("user", "Go")), "I went."),
        Demonstration("c", user_prompt("Hi"), "Cut of", finished=False),
        Demonstration("d", user_prompt("Hi"), " "),
        Demonstration("e", user_prompt("Hi" * 99), "Long."),
    ]
    assert demonstration_groups(rows, FORMAT, 120) == single_groups(rows, FORMAT, 120)


def test_a_turn_that_the_template_rewrites_later_gets_a_group_with_its_own_prompt() -> None:
    format_ = chat_format(byte_tokenizer(FORGETFUL))
    groups, weights, _ = demonstration_groups(TALKS[:1], format_, 10_000)
    assert [group.key for group in groups] == ["all", "all turn 2", "all turn 3"] == list(weights)
    alone, _, _ = single_groups([turn for turn, _ in each_turn_alone(TALKS[0])], format_, 10_000)
    assert [(g.prompt, g.completions) for g in groups] == [(g.prompt, g.completions) for g in alone]


def test_tokens_that_merge_over_the_edge_of_a_turn_are_read_as_generation_would() -> None:
    tokenizer = byte_tokenizer()
    vocabulary = {**tokenizer.get_vocab(), "ĊĊ": len(tokenizer)}
    tokenizer.backend_tokenizer.model = models.BPE(vocab=vocabulary, merges=[("Ċ", "Ċ")])
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    format_ = chat_format(tokenizer)
    for answer, count in (("plain", 1), ("\nmerges with the header's end", 2)):
        row = talk("row", ("Hi", answer, 1.0), ("And?", "Yes.", 1.0))
        groups, _, _ = demonstration_groups([row], format_, 10_000)
        assert len(groups) == count
        assert groups[-1].prompt + groups[-1].completions[0] == format_.prompt_ids(row.prompt) + (
            format_.completion_ids(row.prompt, row.completion)
        )


def test_what_cannot_be_used_is_counted() -> None:
    rows = [
        talk("long", ("Hi", "Hello." * 30, 1.0), ("What?", "That.", 1.0)),
        talk("empty", ("Hi", " ", 1.0), ("What?", "That.", 1.0)),
        talk("nothing", ("Hi", "Hello.", 0.0), ("What?", "That.", 0.0)),
        talk("context only", ("Hi", " ", 0.0), ("What?", "That.", 1.0)),
    ]
    groups, _, dropped = demonstration_groups(rows, FORMAT, 100)
    assert [group.key for group in groups] == ["context only"]
    assert dict(dropped) == {"longer than 100 tokens": 1, "empty completion": 1, "weight 0": 1}
    wrong = Demonstration("odd", user_prompt("Hi"), "Hello.", earlier_weights=(1.0,))
    with pytest.raises(UserError, match="odd has 1 earlier_weights for 0 assistant turns"):
        demonstration_groups([wrong], FORMAT, 100)
    with pytest.raises(ValueError, match="turns are those of one completion"):
        Row([Group("two", (1,), ((2,), (3,)), turns=(Turn(0, 1),))])


def test_the_divergence_is_taken_where_the_assistant_speaks() -> None:
    model = with_lora(tiny_model(vocab_size=len(FORMAT.tokenizer)))
    logprobs = CompletionLogprobs(model)
    groups, weights, _ = demonstration_groups(TALKS, FORMAT, 10_000)

    def loss(groups: list[Group], weights: dict[str, float]) -> float:
        objective = KlObjective(SftObjective(weights), Comparison(), None, 0.5)
        return objective.row_loss(logprobs, Row(groups), Tally()).item()

    alone = [one for talk in TALKS for one in each_turn_alone(talk)]
    apart, _, _ = single_groups([turn for turn, _ in alone], FORMAT, 10_000)
    want = loss(apart, {turn.id: weight for turn, weight in alone})
    assert loss(groups, weights) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("kl", [{}, {"kl_weight": 0.3, "kl_top_k": 5}])
def test_sft_trains_weighted_conversations(tmp_path: Path, kl: dict[str, Any]) -> None:
    how = SftSettings.model_validate({"epochs": 3, "learning_rate": 1e-2, "lora": {"r": 4}, **kl})
    done = train_sft(str(tiny_folder(tmp_path / "base")), TALKS, how, tmp_path / "run")
    seen = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert done.rows == len(TALKS)
    assert seen[-1]["loss"] < seen[0]["loss"]
    # Another weight is another run: the checkpoint there must not be taken for this one's.
    other = [talk("all", ("Hi", "Hello.", 1.0), ("What is rain?", "Water, falling.", 2.0), ("Why?", "Clouds.", 1.0))]
    with pytest.raises(UserError, match="other data or settings"):
        train_sft(str(tmp_path / "base"), [*other, *TALKS[1:]], how, tmp_path / "run")


def test_a_weighted_demonstration_survives_json() -> None:
    assert [demonstration_from(json.loads(json.dumps(as_row(row)))) for row in TALKS] == TALKS
