"""What is optimised: a prompt as token ids around a suffix, and the answer that it shall bring about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.models.template import ChatFormat
from charter.records import user_prompt
from charter.redteam.protocol import NotPossible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "\u241e"


@dataclass(frozen=True, slots=True)
class Problem:
    """Token ids before and after the suffix, and of the target; the texts are for checking how a suffix is read."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    target: tuple[int, ...]
    before_text: str = ""
    after_text: str = ""


def problem_of(format_: ChatFormat, request: str, target: str, suffix: str) -> tuple[Problem, tuple[int, ...]]:
    """The problem of a request, and the ids of a first suffix where it stands.

    The whole prompt is tokenized at once, as generation will see it. Raises NotPossible when the suffix cannot be told
    from the text around it in the tokens.
    """
    tokenizer = format_.tokenizer
    text = str(
        tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in user_prompt(f"{request}{_MARK}")],
            tokenize=False,
            add_generation_prompt=True,
        )
    )
    before, _, after = text.rpartition(_MARK)
    ids, offsets = _encoded(tokenizer, f"{before} {suffix}{after}")
    start, stop = len(before), len(before) + 1 + len(suffix)
    inside = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start and b > a]
    if not inside or any(offsets[i][0] < start or offsets[i][1] > stop for i in inside):
        raise NotPossible("the tokenizer merges the suffix with the text around it, so it cannot be optimised alone")
    first, last = inside[0], inside[-1] + 1
    problem = Problem(tuple(ids[:first]), tuple(ids[last:]), format_.text_ids(target), before, after)
    return problem, tuple(ids[first:last])


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    if not tokenizer.is_fast:
        raise NotPossible("this needs a fast tokenizer (one that knows where in the text a token stands)")
    found: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return found["input_ids"], found["offset_mapping"]
