"""Chat templates as token ids, split exactly where the assistant starts to speak.

What is trained is what the model has to produce: the assistant's text and its end-of-turn token, nothing else. The
split is found by rendering and is verified for each conversation; where a template does not allow it, the error
says so before any training starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.errors import UserError
from charter.records import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PROBE = "Blue lanterns drift"
_PROBE_PROMPT: Conversation = (Message("user", "Probe question"),)


@dataclass(frozen=True)
class ChatFormat:
    """How one tokenizer lays out a conversation. Build it with `chat_format`, which verifies the template."""

    tokenizer: PreTrainedTokenizerBase
    end_of_turn: int
    """Id of the token with which the template ends an assistant's turn."""

    def prompt_ids(self, prompt: Conversation) -> tuple[int, ...]:
        """Token ids of the prompt up to where the assistant starts, as generation will see them (no second BOS)."""
        return _encode(self.tokenizer, _render(self.tokenizer, prompt, generation=True))

    def completion_ids(self, prompt: Conversation, completion: str, *, finished: bool = True) -> tuple[int, ...]:
        """Token ids the assistant has to produce after `prompt_ids(prompt)`, through the end-of-turn token.

        An unfinished completion has no end-of-turn token.

        Raises UserError when the rendered conversation does not begin with the rendered prompt.
        """
        spoken, tail = _spoken(self.tokenizer, prompt, completion)
        ids = _encode(self.tokenizer, spoken)
        if not finished:
            return ids
        # Only the end-of-turn token of the tail: what the template writes after it is never generated.
        if self.end_of_turn not in _encode(self.tokenizer, tail):
            raise UserError(
                "The chat template ends this assistant turn without its end-of-turn token "
                f"({self.tokenizer.decode([self.end_of_turn])!r}). Check the template for conditions on the content."
            )
        return (*ids, self.end_of_turn)

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a piece of a completion that stands behind another piece."""
        return _encode(self.tokenizer, text)


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """The verified chat format of a tokenizer.

    Raises UserError when there is no chat template, when the assistant's text cannot be told from the prompt, or
    when the template ends an assistant turn with no special token (nothing would teach the model to stop).
    """
    if not tokenizer.chat_template:
        raise UserError(
            "This tokenizer has no chat template, so the assistant's tokens cannot be told from the prompt's. Use an "
            "instruct model, or set `chat_template` in tokenizer_config.json."
        )
    _, tail = _spoken(tokenizer, _PROBE_PROMPT, _PROBE)
    special = set(tokenizer.all_special_ids) | set(_added_special_ids(tokenizer))
    for token in _encode(tokenizer, tail):
        if token in special:
            return ChatFormat(tokenizer, token)
    raise UserError(
        f"The chat template ends the assistant's turn with {tail!r}, which holds no special token: the end of a turn "
        "cannot be trained and the model would never stop. Add the end-of-turn token to the template and mark it as "
        "special in the tokenizer."
    )


def stop_ids(model: PreTrainedModel, format_: ChatFormat) -> frozenset[int]:
    """Every token that ends a turn: the template's end-of-turn, the tokenizer's EOS and the generation config's."""
    ids: set[int] = {format_.end_of_turn}
    configured: Any = getattr(model.generation_config, "eos_token_id", None)
    for value in (configured, format_.tokenizer.eos_token_id):
        if isinstance(value, int):
            ids.add(value)
        elif value:
            ids.update(int(v) for v in value)
    return frozenset(ids)


def _spoken(tokenizer: PreTrainedTokenizerBase, prompt: Conversation, completion: str) -> tuple[str, str]:
    """(text the assistant says, text the template puts after it)."""
    head = _render(tokenizer, prompt, generation=True)
    whole = _render(tokenizer, (*prompt, Message("assistant", completion)), generation=False)
    if not whole.startswith(head):
        raise UserError(
            "The chat template cannot be masked: a conversation with the answer does not begin with the prompt as "
            "generation sees it, so the assistant's tokens cannot be told from the prompt's. The template "
            f"wrote {whole[:80]!r}… against {head[:80]!r}…. Use a template with a plain generation prompt."
        )
    rest = whole[len(head) :]
    said = completion if completion in rest else completion.strip()
    at = rest.find(said)
    if at < 0:
        raise UserError(
            "The chat template cannot be masked: it changes the assistant's text, so it cannot be found again in what "
            f"the template writes ({rest[:80]!r}…). Use a template that copies the content as it is."
        )
    end = at + len(said)
    return rest[:end], rest[end:]


def _render(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, *, generation: bool) -> str:
    from jinja2 import TemplateError

    messages = [{"role": m.role, "content": m.content} for m in conversation]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    except TemplateError as error:
        roles = ", ".join(m.role for m in conversation)
        raise UserError(
            f"The chat template refuses this conversation (roles: {roles}): {error}. Remove the turn it does not "
            "take, or use another template."
        ) from None
    return str(text)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    # The template has written every special token already: adding them again would give BOS twice.
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _added_special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return [index for index, token in added.items() if getattr(token, "special", False)]
