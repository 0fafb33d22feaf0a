"""Chat templates: what is trained is the assistant's text and its end-of-turn token, or the error says why not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from charter.errors import UserError
from charter.models.template import chat_format
from charter.records import Message, user_prompt

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPECIAL = [
    *("<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
]


def tokenizer_with(template: str | None) -> PreTrainedTokenizerFast:
    """A token a byte; encoding adds BOS on its own, as Llama's tokenizer does."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    made.chat_template = template
    return made


CONVERSATIONS = [
    user_prompt("What is a lantern?"),
    user_prompt("Again?", system="You answer in rhyme."),
    (Message("user", "One."), Message("assistant", "Two."), Message("user", "Three.")),
]


@pytest.mark.parametrize(("template", "end"), [(CHATML, "<|im_end|>"), (LLAMA3, "<|eot_id|>")])
@pytest.mark.parametrize("prompt", CONVERSATIONS)
def test_prompt_and_completion_are_the_rendered_conversation(
    template: str, end: str, prompt: tuple[Message, ...]
) -> None:
    tokenizer = tokenizer_with(template)
    format_ = chat_format(tokenizer)
    answer = "A blue one, drifting.\nÜber 漢字"
    messages = [{"role": m.role, "content": m.content} for m in (*prompt, Message("assistant", answer))]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    asked, said = format_.prompt_ids(prompt), format_.completion_ids(prompt, answer)
    assert list(asked + said) == whole[: len(asked) + len(said)]
    assert tokenizer.decode(said[:-1]) == answer
    assert tokenizer.decode([said[-1]]) == end
    assert format_.end_of_turn == tokenizer.convert_tokens_to_ids(end)
    # What the template writes behind the end of the turn (ChatML's newline) is never generated, nor trained.
    assert tokenizer.decode(whole[len(asked) + len(said) :]).strip() == ""


def test_end_of_turn_need_not_be_eos() -> None:
    tokenizer = tokenizer_with(LLAMA3)
    assert chat_format(tokenizer).end_of_turn != tokenizer.eos_token_id


def test_bos_comes_once() -> None:
    tokenizer = tokenizer_with(LLAMA3)
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id  # the tokenizer would add a second one
    ids = chat_format(tokenizer).prompt_ids(CONVERSATIONS[0])
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip())), st.sampled_from([CHATML, LLAMA3]))
def test_any_text_ends_with_the_end_of_turn_once(answer: str, template: str) -> None:
    tokenizer = tokenizer_with(template)
    format_ = chat_format(tokenizer)
    said = format_.completion_ids(CONVERSATIONS[0], answer)
    assert said[-1] == format_.end_of_turn
    assert said.count(format_.end_of_turn) == 1
    assert tokenizer.decode(said[:-1]).strip() == answer.strip()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "no chat template"),
        (CHATML.replace("m.content", "m.content | upper"), "changes the assistant's text"),
        (CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"), "does not begin with the prompt"),
        ("{{ messages | length }} turns. " + CHATML, "does not begin with the prompt"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}", "no special token"),
        ("{{ raise_exception('only tools here') }}", "only tools here"),
    ],
)  # fmt: skip
def test_template_that_cannot_be_masked(template: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        chat_format(tokenizer_with(template))
    assert "\n\n" not in str(error.value)


def test_template_that_refuses_one_conversation_names_its_roles() -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML
    format_ = chat_format(tokenizer_with(template))
    assert format_.prompt_ids(CONVERSATIONS[0])
    with pytest.raises(UserError, match=r"system, user.*no system turn"):
        format_.prompt_ids(CONVERSATIONS[1])


def test_template_that_drops_the_end_of_some_turns_is_caught_at_that_turn() -> None:
    template = CHATML.replace("<|im_end|>\n{% endfor", "{% if 'x' not in m.content %}<|im_end|>{% endif %}\n{% endfor")
    format_ = chat_format(tokenizer_with(template))
    assert format_.completion_ids(CONVERSATIONS[0], "fine")[-1] == format_.end_of_turn
    with pytest.raises(UserError, match="without its end-of-turn token"):
        format_.completion_ids(CONVERSATIONS[0], "box")
