"""What is in a data file, and what training would make of it: `charter data inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Final

from charter.errors import UserError
from charter.evaluation import load_suite
from charter.feedback.formats import Kind, Loaded, load
from charter.models.template import ChatFormat, chat_format
from charter.models.tokenizer import load_tokenizer
from charter.overlap import near_duplicates, near_duplicates_within
from charter.progress import Bar
from charter.recipes.data_stage import MAX_OVERLAP
from charter.recipes.lengths import LengthBias, Lengths, length_bias, lengths_of
from charter.records import Conversation, Demonstration, Preference, Stepwise
from charter.training.rows import demonstration_groups, preference_groups, single_groups
from charter.training.steps import SEPARATOR, step_groups

NEAR_ROWS: Final = 0.8
"""Similarity (Jaccard, word 3-grams) from which two rows are near-duplicates."""
NEAR_SEARCHED: Final = 10_000
"""So many distinct rows are compared with each other; the result says how many were."""
_NAMED: Final = 5
_REFUSED: Final = "the chat template refuses the conversation"


@dataclass(frozen=True)
class Use:
    """One way of training on the file: records it gives, how many fit, the others by reason."""

    records: int
    usable: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Duplicates:
    """Rows that repeat an earlier one word for word or nearly (of the first `searched`); prompts, rows sharing one."""

    exact_rows: int
    near_rows: int
    searched: int
    prompts: int
    rows_sharing_a_prompt: int


@dataclass(frozen=True)
class Overlap:
    """How many rows stand close to a suite's questions, and the ids of the first of them."""

    rows: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class Weights:
    """Of conversations with weights on messages: assistant turns up to the last that is trained, by their weight."""

    rows: int
    turns: dict[str, int]


@dataclass(frozen=True)
class Inspection:
    """Everything found. Lengths are in tokens; `drops` is what the file's own kind of training would leave out."""

    source: str
    format: str
    style: str
    rows: int
    model: str
    max_tokens: int
    records: dict[str, Use]
    drops: dict[str, int]
    lengths: dict[str, Lengths]
    length_bias: LengthBias | None
    duplicates: Duplicates
    overlaps: dict[str, Overlap]
    weights: Weights | None
    example: dict[str, str] | None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Ready for json.dumps."""
        return asdict(self)


def inspect_data(
    source: str, model: str = "smollm2", max_tokens: int = 1024, suites: Sequence[str] = (), split: str = "train"
) -> Inspection:
    """Read a file as training would, with this model's tokenizer and template, and count.

    Raises UserError for a file that cannot be read, an unknown suite, or a model without a usable chat template.
    """
    measured = {suite: [sample.prompt for sample in load_suite(suite)] for suite in suites}
    loaded = load(source, split)
    format_ = _Remembering.of(chat_format(load_tokenizer(model)))
    records: Sequence[Any] = loaded.records
    notes = _notes(loaded)
    sizes = []
    with Bar("tokens", len(records), "rows") as bar:
        for done, record in enumerate(records, 1):
            sizes.append(format_.sizes(record.prompt, _sides(record)))
            bar.update(done)
    uses: dict[str, Use] = {kind: _use(loaded, kind, format_, max_tokens, notes) for kind in loaded.gives}
    own = uses.get(loaded.format.kind or "")
    pairs = _pairs(loaded)
    return Inspection(
        source=source,
        format=loaded.format.name,
        style=loaded.style,
        rows=loaded.rows,
        model=model,
        max_tokens=max_tokens,
        records=uses,
        drops=own.dropped if own else dict(loaded.dropped),
        lengths=lengths_of(sizes),
        length_bias=length_bias([format_.sizes(pair.prompt, _sides(pair)) for pair in pairs]),
        duplicates=_duplicates(records),
        overlaps=_overlaps(records, measured),
        weights=_weights(records),
        example=_example(records, format_),
        notes=notes,
    )


@dataclass(frozen=True)
class _Remembering(ChatFormat):
    """A chat format that renders each text once: a file's kinds of record hold the same texts."""

    prompts: dict[Conversation, tuple[int, ...]] = field(default_factory=dict)
    completions: dict[tuple[Conversation, str, bool], tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: ChatFormat) -> _Remembering:
        return cls(plain.tokenizer, plain.end_of_turn)

    def prompt_ids(self, prompt: Conversation) -> tuple[int, ...]:
        if prompt not in self.prompts:
            self.prompts[prompt] = super().prompt_ids(prompt)
        return self.prompts[prompt]

    def completion_ids(self, prompt: Conversation, completion: str, *, finished: bool = True) -> tuple[int, ...]:
        key = prompt, completion, finished
        if key not in self.completions:
            self.completions[key] = super().completion_ids(prompt, completion, finished=finished)
        return self.completions[key]

    def sizes(self, prompt: Conversation, sides: dict[str, str]) -> dict[str, int]:
        """Tokens of the prompt, of each side and of all; empty where the template refuses the conversation."""
        try:
            found = {name: len(self.completion_ids(prompt, text)) for name, text in sides.items()}
            return {"prompt": (asked := len(self.prompt_ids(prompt))), **found, "row": asked + sum(found.values())}
        except UserError:
            return {}


def _sides(record: Any) -> dict[str, str]:
    if isinstance(record, Preference):
        return {"chosen": record.chosen, "rejected": record.rejected}
    if isinstance(record, Stepwise):
        return {"completion": SEPARATOR.join([*record.steps, ""])}
    return {"completion": record.completion}


def _use(loaded: Loaded, kind: Kind, format_: ChatFormat, max_tokens: int, notes: list[str]) -> Use:
    """What the training code itself would do with the records, one at a time."""
    try:
        records, left = loaded.as_kind(kind)
    except UserError:
        # Nothing of this kind; the file's own kind says why.
        return Use(0, 0, dict(loaded.dropped))
    dropped = Counter(left)
    usable = 0
    for record in records:
        try:
            if isinstance(record, Preference):
                groups, reasons = preference_groups([record], format_, max_tokens)
            elif isinstance(record, Stepwise):
                groups, _, reasons = step_groups([record], format_, max_tokens, SEPARATOR, last_only=False)
            elif isinstance(record, Demonstration):
                groups, _, reasons = demonstration_groups([record], format_, max_tokens)
            else:
                finished = getattr(record, "finished", True)
                row = Demonstration(record.id, record.prompt, record.completion, finished=finished)
                groups, _, reasons = single_groups([row], format_, max_tokens)
        except UserError as error:
            if not dropped[_REFUSED]:
                notes.append(f"Training on {kind} would stop at {record.source}: {error}")
            dropped[_REFUSED] += 1
        else:
            usable += bool(groups)
            dropped.update(reasons)
    return Use(len(records), usable, dict(dropped))


def _pairs(loaded: Loaded) -> list[Preference]:
    try:
        return loaded.as_kind("preferences")[0]
    except UserError:
        return []


def _duplicates(records: Sequence[Any]) -> Duplicates:
    whole = Counter((record.prompt, *_sides(record).values()) for record in records)
    distinct = list(whole)[:NEAR_SEARCHED]
    texts = [" ".join([*(turn.content for turn in prompt), *sides]) for prompt, *sides in distinct]
    with Bar("near-duplicates", len(texts), "rows") as bar:
        near = {later for _, later, _ in near_duplicates_within(texts, NEAR_ROWS, bar.update)}
    prompts = Counter(record.prompt for record in records)
    return Duplicates(
        exact_rows=len(records) - len(whole),
        near_rows=len(near),
        searched=len(distinct),
        prompts=len(prompts),
        rows_sharing_a_prompt=sum(count for count in prompts.values() if count > 1),
    )


def _overlaps(records: Sequence[Any], measured: dict[str, list[str]]) -> dict[str, Overlap]:
    """By suite, the rows whose question is a near-duplicate of one that the suite measures."""
    asked = [next((turn.content for turn in record.prompt if turn.role == "user"), "") for record in records]
    found = {}
    for suite, questions in measured.items():
        close = sorted({index for index, _, _ in near_duplicates(asked, questions, MAX_OVERLAP)})
        found[suite] = Overlap(len(close), tuple(records[index].id for index in close[:_NAMED]))
    return found


def _weights(records: Sequence[Any]) -> Weights | None:
    """Weights that differ from one another or from 1; None where every row counts the same."""
    rows = [record for record in records if isinstance(record, Demonstration)]
    if all(row.weight == 1 and not row.earlier_weights for row in rows):
        return None
    counted = Counter(f"{weight:g}" for row in rows for weight in (*row.earlier_weights, row.weight))
    weighted = sum(row.weight != 1 or bool(row.earlier_weights) for row in rows)
    return Weights(weighted, dict(sorted(counted.items(), key=lambda one: float(one[0]))))


def _example(records: Sequence[Any], format_: ChatFormat) -> dict[str, str] | None:
    """The first record as the model would see it: the prompt as its template renders it, and what it has to say."""
    if not records:
        return None
    first = records[0]
    try:
        rendered = {"prompt": format_.tokenizer.decode(list(format_.prompt_ids(first.prompt)))}
        for name, text in _sides(first).items():
            rendered[name] = format_.tokenizer.decode(list(format_.completion_ids(first.prompt, text)))
    except UserError:
        return {"prompt": str(first.prompt), **_sides(first)}
    return {name: str(text) for name, text in rendered.items()}


def _notes(loaded: Loaded) -> list[str]:
    notes = []
    earlier = sum(
        any(turn.role == "assistant" for turn in record.prompt) and not getattr(record, "earlier_weights", ())
        for record in loaded.records
    )
    if earlier:
        notes.append(
            f"{earlier} of {len(loaded.records)} prompts hold earlier assistant turns. They are read, not "
            "trained: only the last turn is. Give the messages weights to have sft train them."
        )
    if loaded.format.kind is None:
        notes.append("Prompts without completions: methods that sample their own read them, such as grpo.")
    if loaded.format.kind == "scored":
        names = sorted({name for record in loaded.records for name in getattr(record, "scores", ())})
        notes.append(f"Scores: {', '.join(names)}. Pairs are the best completion of a prompt against its worst.")
    if steps := [record for record in loaded.records if isinstance(record, Stepwise)]:
        labels = [label for record in steps for label in record.labels]
        kinds = "true or false" if set(labels) <= {0, 1} else f"{min(labels):g} to {max(labels):g}"
        notes.append(
            f"{len(labels)} steps with labels ({kinds}, mean {fmean(labels):.2f}), {len(labels) / len(steps):.1f} a "
            f"completion; counted with the separator {SEPARATOR!r}."
        )
    return notes
