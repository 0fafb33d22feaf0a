"""Read Inspect logs, ours or any other task's, into one flat list of outcomes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.errors import UserError, nearest
from charter.evaluation.logs import LogInfo, log_infos, read_log

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.scorer import Score as InspectScore

_WORDS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Inspect's own reading of verdict words (`value_to_float`)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One score of one sample in one epoch. `value` is None exactly when `unscored` says why.

    metric: the scorer's name, or "scorer.key" for a scorer that gives several values (just "key" where the key is the
    scorer's own name). label: the judge's word where there is one. seen: whether training had the sample's category.
    epoch: runs of one suite with other seeds count on. question: a digest of what was asked and of the right answer,
    empty where that is not known. silent: the model was asked and gave neither text nor a tool call.
    """

    suite: str
    metric: str
    sample_id: str
    epoch: int
    value: float | None
    label: str | None = None
    slice: str | None = None
    clauses: tuple[str, ...] = ()
    prompt: str = ""
    completion: str = ""
    unscored: str | None = None
    seen: bool | None = None
    judge: str | None = None
    question: str = ""
    silent: bool = False


def read_outcomes(source: Path | Sequence[Path], slice_by: str = "slice") -> list[Outcome]:
    """Every outcome in a log file, a folder of logs, or a list of these.

    Samples that the log promised but does not hold (it was interrupted) come back unscored, one outcome per metric.
    In a folder the newest log of each suite counts, and with it those that differ only in their seed.
    slice_by: the key of the samples' metadata that names their slice. Raises UserError for no log, an unreadable one,
    a log without samples, a folder that holds one suite for several models, or a `slice_by` that no sample has.
    """
    infos = log_infos(source)
    logs = [(info, read_log(info.path)) for info in infos]
    if slice_by != "slice":
        known = sorted({key for _, log in logs for sample in log.samples or [] for key in sample.metadata or {}})
        if slice_by not in known:
            has = ", ".join(known) or "none"
            raise UserError(
                f'{infos[0].path}: no sample has "{slice_by}" in its metadata, so there is nothing to slice by.'
                f"{nearest(slice_by, known)} Keys there are: {has}."
            )
    return [outcome for info, log in logs for outcome in _outcomes_of(log, info, slice_by)]


def _outcomes_of(log: EvalLog, info: LogInfo, slice_by: str) -> list[Outcome]:
    samples = log.samples or []
    scorers = _metrics_of(log, samples)
    if not samples and not log.eval.dataset.sample_ids:
        raise UserError(f"{info.path}: the log holds no samples. Run its evaluation again with `log_samples` on.")
    if not scorers:
        raise UserError(f"{info.path}: no sample was scored and no scorer is named. Score it first (`inspect score`).")
    outcomes = [outcome for sample in samples for outcome in _of_sample(sample, info, scorers, slice_by)]
    present = {(str(sample.id), sample.epoch) for sample in samples}
    for sample_id in log.eval.dataset.sample_ids or []:
        for epoch in range(1, info.epochs + 1):
            if (str(sample_id), epoch) not in present:
                why = f"not run: the log ended {log.status}"
                place = info.epochs_before + epoch
                outcomes += [Outcome(info.suite, m, str(sample_id), place, None, unscored=why) for m in scorers]
    return outcomes


def _metrics_of(log: EvalLog, samples: Iterable[EvalSample]) -> list[str]:
    """Every metric that some sample has, or, where none has any, that the header names."""
    seen: dict[str, None] = {}
    for sample in samples:
        for name, score in (sample.scores or {}).items():
            seen.update(dict.fromkeys(key for key, _ in _values(name, score.value)))
    if not seen:
        seen = dict.fromkeys(scorer.name.split("/")[-1] for scorer in log.eval.scorers or [])
    return _without_parents(list(seen))


def _without_parents(names: list[str]) -> list[str]:
    """A scorer of several values that is unscored as a whole shows under its bare name: its keys stand for it."""
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _of_sample(sample: EvalSample, info: LogInfo, metrics: Sequence[str], slice_by: str) -> list[Outcome]:
    found: dict[str, tuple[Any, InspectScore | None]] = {}
    for name, given in (sample.scores or {}).items():
        for key, value in _values(name, given.value):
            found[key] = (value, given)
    metadata = sample.metadata or {}
    completion = sample.output.completion if sample.output and sample.output.choices else ""
    asked, silent = _question(sample), _silent(sample)
    outcomes = []
    for metric in metrics:
        raw, score = found.get(metric) or found.get(metric.split(".")[0]) or (None, None)
        value = None if raw is None or isinstance(raw, Mapping) or sample.invalidation else number(raw)
        detail = (score.metadata or {}) if score is not None else {}
        outcomes.append(
            Outcome(
                suite=info.suite,
                metric=metric,
                sample_id=str(sample.id),
                epoch=info.epochs_before + sample.epoch,
                value=value,
                label=_text(detail.get("label")),
                slice=_text(metadata.get(slice_by)),
                clauses=tuple(str(clause) for clause in metadata.get("clauses") or ()),
                prompt=_prompt(sample),
                completion=completion,
                unscored=None if value is not None else _why(sample, score, raw),
                seen=metadata["seen"] if isinstance(metadata.get("seen"), bool) else None,
                judge=_text(detail.get("judge")),
                question=asked,
                silent=silent,
            )
        )
    return outcomes


def _values(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(name if key == name else f"{name}.{key}", part) for key, part in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(f"{name}.{index}", part) for index, part in enumerate(value)]
    return [(name, value)]


def number(value: Any) -> float | None:
    """A score's value as Inspect reads it, or None where it is no finite number (NaN is Inspect's "unscored")."""
    if isinstance(value, str):
        word = _WORDS.get(value, _WORDS.get(value.lower()))
        if word is not None:
            return word
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (bool, int, float)) and math.isfinite(value) else None


def _why(sample: EvalSample, score: InspectScore | None, raw: Any) -> str:
    if sample.error is not None:
        return f"error: {sample.error.message.strip().splitlines()[0] if sample.error.message.strip() else 'unknown'}"
    if sample.invalidation is not None:
        return f"invalidated: {sample.invalidation.reason or 'no reason given'}"
    if score is None:
        return "the log has no score for this sample"
    if score.explanation or score.reason:
        return str(score.explanation or score.reason)
    if isinstance(raw, float):
        return "unscored, no reason given"
    return f"the score {raw!r} is not a number"


def _question(sample: EvalSample) -> str:
    """A digest of the prompt, the choices in any order, and the target: letters stand for the choice they name."""
    asked = [sample.input] if isinstance(sample.input, str) else [f"{m.role}: {m.text}" for m in sample.input]
    targets = [sample.target] if isinstance(sample.target, str) else list(sample.target)
    choices = sample.choices or []
    letters = {chr(ord("A") + place): choice for place, choice in enumerate(choices)}
    text = json.dumps([asked, sorted(choices), sorted(letters.get(target, target) for target in targets)])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _silent(sample: EvalSample) -> bool:
    """Nothing came back: no text, no tool call, nothing but perhaps reasoning. An error is not silence."""
    if sample.error is not None:
        return False
    if sample.output is None or not sample.output.choices:
        return not any(message.role == "assistant" and message.text.strip() for message in sample.messages)
    message = sample.output.choices[0].message
    other = not isinstance(message.content, str) and any(
        part.type not in ("text", "reasoning") for part in message.content
    )
    return not (sample.output.completion.strip() or message.tool_calls or other)


def _prompt(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    if len(sample.input) == 1:
        return sample.input[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in sample.input)


def _text(value: Any) -> str | None:
    return str(value) if value is not None else None
