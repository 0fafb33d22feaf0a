"""The teacher of a distillation: that it fits the student, what it is asked, what it says, what it would have said.

Everything that needs its weights happens before the first step and is kept on disk; a resumed run does not load it.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from charter.errors import UserError
from charter.models.loading import LocalModel, load_model, named_digest
from charter.models.names import is_endpoint
from charter.models.template import ChatFormat, chat_format
from charter.models.tokenizer import load_tokenizer
from charter.progress import Bar
from charter.records import Conversation, Demonstration, Sampling, as_row, read_jsonl, write_jsonl
from charter.training.devices import here
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.toptokens import KeptTokens, kept_tokens, vocabulary_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TeacherPrompt = Callable[[Demonstration], Conversation]
"""What the teacher is asked where the student is asked `row.prompt`."""


def same_prompt(row: Demonstration) -> Conversation:
    """The student's prompt. Another TeacherPrompt may add what the student shall do without (context distillation)."""
    return row.prompt


TAUGHT: Final = "distilled"
"""Role, among the questions that made a row, of the one whose answer is learned without its pre-prompt."""


def preprompted(row: Demonstration) -> Conversation:
    """The question under the pre-prompt that made the row; the row's own prompt where there was none."""
    return (row.made.prompt_of(TAUGHT) if row.made else None) or row.prompt


@dataclass(frozen=True)
class Teacher:
    """A teacher by its one-string name, loaded when it is needed."""

    name: str
    format: ChatFormat
    digest: str
    prompt: TeacherPrompt

    @cached_property
    def _local(self) -> LocalModel:
        return load_model(self.name)

    def answers(
        self, rows: Sequence[Demonstration], sampling: Sampling, folder: Path
    ) -> tuple[list[Demonstration], Counter[str]]:
        """(the rows with the teacher's answers in the place of their completions, what failed by reason).

        Read from `folder` when they are there. One that reached `sampling.max_tokens` is unfinished.
        """
        asked = [self.prompt(row) for row in rows]
        content = [[row.id, [as_row(turn) for turn in prompt]] for row, prompt in zip(rows, asked, strict=True)]
        key = hashlib.sha256(json.dumps([self.digest, as_row(sampling), content]).encode()).hexdigest()[:32]
        path = folder / f"answers-{key}.jsonl"
        devices = here()
        if devices.first and not path.exists():
            from charter.models.generation.local import LocalTextModel

            with Bar("teacher's answers", len(rows), "prompts") as bar:
                said = LocalTextModel(self._local).generate(asked, sampling, lambda done, *_: bar.update(done))
            found = ({"text": one.text, "finish": one.finish} for (one,) in said)
            write_jsonl(path, ({"id": row.id, **one} for row, one in zip(rows, found, strict=True)))
        # The others read what the first one wrote.
        devices.barrier()
        answered: list[Demonstration] = []
        failed: Counter[str] = Counter()
        for row, (_, kept) in zip(rows, read_jsonl(path), strict=True):
            if kept["finish"] == "error":
                failed["the teacher could not answer"] += 1
            else:
                answered.append(replace(row, completion=kept["text"], finished=kept["finish"] == "stop"))
        return answered, failed

    def top_tokens(
        self,
        rows: Sequence[Demonstration],
        groups: Sequence[Group],
        student: Any,
        folder: Path,
        *,
        k: int,
        temperature: float,
        row_tokens: int,
    ) -> KeptTokens:
        """The teacher's most likely tokens at the completions of the student's `groups`, after its own prompts.

        student: the model that learns; rows of its output table that the teacher lacks, or the other way about, are
        padding, since the tokens are the same.
        """
        prompts = {row.id: self.format.prompt_ids(self.prompt(row)) for row in rows}
        own = [Group(group.key, prompts[group.key], group.completions) for group in groups]
        tokens = 1 + max(self.format.tokenizer.get_vocab().values())
        if tokens > vocabulary_of(student):
            raise UserError(
                f"The student's tokenizer has {tokens} tokens and its head {vocabulary_of(student)}: the teacher may "
                "expect one that the student cannot say. Resize the student's embeddings first."
            )
        return kept_tokens(
            lambda: CompletionLogprobs(self._local.model),
            own,
            row_tokens,
            self.digest,
            folder,
            k=k,
            temperature=temperature,
            vocabulary=tokens,
            title="teacher's log-probs",
        )

    def dismiss(self) -> None:
        """Free the weights."""
        self.__dict__.pop("_local", None)
        gc.collect()


def teacher_of(name: str, student: ChatFormat, prompt: TeacherPrompt = same_prompt) -> Teacher:
    """The teacher of that name. Raises UserError when it and the student do not speak the same tokens."""
    if is_endpoint(name):
        raise UserError(
            f'teacher: "{name}" is an endpoint, which does not tell its log-probs of the student\'s tokens. Name a '
            "folder, `smollm2` or a hub id; or train by sft on what the endpoint answers."
        )
    tokenizer = load_tokenizer(name)
    check_same_tokens(name, tokenizer, student.tokenizer)
    format_ = chat_format(tokenizer)
    if format_.end_of_turn != student.end_of_turn:
        theirs, ours = (tokenizer.decode([token]) for token in (format_.end_of_turn, student.end_of_turn))
        raise UserError(
            f'teacher: "{name}" ends its turns with {theirs!r} and the student with {ours!r}: the student would not '
            "learn to stop. Use a teacher with the student's chat template."
        )
    return Teacher(name, format_, named_digest(name), prompt)


def check_same_tokens(name: str, teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> None:
    """Raises UserError when a token has another id, or is missing, on one of the sides."""
    one, two = teacher.get_vocab(), student.get_vocab()
    if one == two:
        return
    different = sorted(token for token in one.keys() | two.keys() if one.get(token) != two.get(token))
    raise UserError(
        f'teacher: "{name}" does not share the student\'s vocabulary: {len(different)} tokens differ, such as '
        f"{different[0]!r} ({one.get(different[0])} there, {two.get(different[0])} here). Log-probs of other tokens "
        "cannot be compared: choose a teacher of the same family, or train by sft on its answers."
    )
