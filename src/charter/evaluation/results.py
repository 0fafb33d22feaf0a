"""Read Inspect logs, ours or any other task's, into one flat list of outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.errors import UserError

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


@dataclass(frozen=True, slots=True)
class LogInfo:
    """What a log says of itself: the model, the suite, their digests (ours only) and how it ended."""

    path: Path
    suite: str
    model: str
    created: str
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_outcomes(source: Path | Sequence[Path]) -> list[Outcome]:
    """Every outcome in a log file, a folder of logs, or a list of these.

    Samples that the log promised but does not hold (it was interrupted) come back unscored, one outcome per metric.
    In a folder the newest log of each suite counts. Raises UserError for no log, an unreadable one, a log without
    samples, or a folder that holds one suite for several models.
    """
    outcomes: list[Outcome] = []
    for info in log_infos(source):
        outcomes += _outcomes_of(_read(info.path), info)
    return outcomes


def log_infos(source: Path | Sequence[Path]) -> list[LogInfo]:
    """The logs that `read_outcomes` reads, from their headers."""
    paths = [source] if isinstance(source, Path) else list(source)
    infos = [info for path in paths for info in _infos_at(path)]
    by_suite: dict[str, LogInfo] = {}
    for info in infos:
        other = by_suite.get(info.suite)
        if other is not None and other.model != info.model:
            raise UserError(
                f'{", ".join(map(str, paths))}: the suite "{info.suite}" is there for two models, {other.model} '
                f"({other.path.name}) and {info.model} ({info.path.name}). Give one side's logs, or a folder a model."
            )
        if other is None or info.created > other.created:
            by_suite[info.suite] = info
    return list(by_suite.values())


def _infos_at(path: Path) -> list[LogInfo]:
    if path.is_dir():
        files = sorted(
            file
            for pattern in ("**/*.eval", "**/*.json")
            for file in path.glob(pattern)
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        infos = [info for file in files if (info := _info(file, strict=file.suffix == ".eval")) is not None]
        if not infos:
            raise UserError(
                f"{path}: no Inspect log (.eval or .json) in this folder. Run `charter eval` into it first."
            )
        return infos
    if not path.exists():
        raise UserError(f"{path}: no such log. Give an Inspect log (.eval or .json) or a folder of logs.")
    info = _info(path, strict=True)
    assert info is not None
    return [info]


def _info(path: Path, strict: bool) -> LogInfo | None:
    try:
        header = _read(path, header_only=True)
    except UserError:
        if strict:
            raise
        return None  # a folder may hold other JSON
    settings = ((header.eval.metadata or {}).get("charter")) or {}
    suite = header.eval.task.split("/")[-1]
    return LogInfo(path, suite, header.eval.model, str(header.eval.created), header.status, settings)


def _read(path: Path, header_only: bool = False) -> EvalLog:
    from inspect_ai.log import read_eval_log

    try:
        return read_eval_log(str(path), header_only=header_only, resolve_attachments=not header_only)
    except Exception as error:
        # Zip, JSON and validation errors of many kinds: to the user they are all "not an Inspect log".
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path}: not a readable Inspect log ({reason}). Give a .eval or .json file that Inspect wrote."
        ) from None


def _outcomes_of(log: EvalLog, info: LogInfo) -> list[Outcome]:
    samples = log.samples or []
    scorers = _metrics_of(log, samples)
    if not samples and not log.eval.dataset.sample_ids:
        raise UserError(f"{info.path}: the log holds no samples. Run its evaluation again with `log_samples` on.")
    if not scorers:
        raise UserError(f"{info.path}: no sample was scored and no scorer is named. Score it first (`inspect score`).")
    outcomes = [outcome for sample in samples for outcome in _of_sample(sample, info.suite, scorers)]
    present = {(str(sample.id), sample.epoch) for sample in samples}
    for sample_id in log.eval.dataset.sample_ids or []:
        for epoch in range(1, (log.eval.config.epochs or 1) + 1):
            if (str(sample_id), epoch) not in present:
                why = f"not run: the log ended {log.status}"
                outcomes += [Outcome(info.suite, m, str(sample_id), epoch, None, unscored=why) for m in scorers]
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


def _of_sample(sample: EvalSample, suite: str, metrics: Sequence[str]) -> list[Outcome]:
    found: dict[str, tuple[Any, InspectScore | None]] = {}
    for name, given in (sample.scores or {}).items():
        for key, value in _values(name, given.value):
            found[key] = (value, given)
    metadata = sample.metadata or {}
    completion = sample.output.completion if sample.output and sample.output.choices else ""
    outcomes = []
    for metric in metrics:
        raw, score = found.get(metric) or found.get(metric.split(".")[0]) or (None, None)
        value = None if raw is None or isinstance(raw, Mapping) else number(raw)
        detail = (score.metadata or {}) if score is not None else {}
        outcomes.append(
            Outcome(
                suite=suite,
                metric=metric,
                sample_id=str(sample.id),
                epoch=sample.epoch,
                value=value,
                label=_text(detail.get("label")),
                slice=_text(metadata.get("slice")),
                clauses=tuple(str(clause) for clause in metadata.get("clauses") or ()),
                prompt=_prompt(sample),
                completion=completion,
                unscored=None if value is not None else _why(sample, score, raw),
                seen=metadata["seen"] if isinstance(metadata.get("seen"), bool) else None,
                judge=_text(detail.get("judge")),
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
    if score is None:
        return "the log has no score for this sample"
    if score.explanation or score.reason:
        return str(score.explanation or score.reason)
    if isinstance(raw, float):
        return "unscored, no reason given"
    return f"the score {raw!r} is not a number"


def _prompt(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    if len(sample.input) == 1:
        return sample.input[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in sample.input)


def _text(value: Any) -> str | None:
    return str(value) if value is not None else None
