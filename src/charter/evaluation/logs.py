"""Which Inspect logs make up one side of a comparison, and what they say of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.errors import UserError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog


@dataclass(frozen=True, slots=True)
class LogInfo:
    """What a log says of itself: the model, the suite, their digests (ours only) and how it ended.

    suite: the task's name, with the arguments that tell it apart where a folder holds one task with several.
    seed: of the generation, None where it had none. facts: what else decides the numbers, as short texts by name.
    epochs_before: epochs of the same samples in this side's other logs (runs with other seeds), which come first.
    """

    path: Path
    suite: str
    model: str
    created: str
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    epochs: int = 1
    epochs_before: int = 0


def log_infos(source: Path | Sequence[Path]) -> list[LogInfo]:
    """The logs that count, from their headers: of each suite the newest, and older ones that differ in seed alone.

    Raises UserError for no log, an unreadable one, or one suite for several models.
    """
    paths = [source] if isinstance(source, Path) else list(source)
    infos = [info for path in paths for info in _infos_at(path)]
    by_suite: dict[str, list[LogInfo]] = {}
    for info in infos:
        by_suite.setdefault(info.suite, []).append(info)
    for suite, group in by_suite.items():
        first = group[0]
        other = next((info for info in group if info.model != first.model), None)
        if other is not None:
            raise UserError(
                f'{", ".join(map(str, paths))}: the suite "{suite}" is there for two models, {first.model} '
                f"({first.path.name}) and {other.model} ({other.path.name}). Give one side's logs, or a folder a model."
            )
    return [info for group in by_suite.values() for variant in _variants(group) for info in _seeds(variant)]


def differences(base: Iterable[LogInfo], candidate: Iterable[LogInfo]) -> list[str]:
    """What, besides the model, is not the same on the two sides, one sentence a suite and fact."""
    other = {info.suite: info for info in candidate}
    found = []
    for info in base:
        facts = other[info.suite].facts if info.suite in other else info.facts
        for name in dict.fromkeys([*info.facts, *facts]):
            before, after = info.facts.get(name, "not given"), facts.get(name, "not given")
            if before != after:
                found.append(
                    f"{info.suite}: {name} differs: {_short(before)} on the base, {_short(after)} on the other"
                )
    return list(dict.fromkeys(found))


def read_log(path: Path, header_only: bool = False) -> EvalLog:
    """The log as Inspect reads it. Raises UserError when it cannot."""
    from inspect_ai.log import read_eval_log

    try:
        return read_eval_log(str(path), header_only=header_only, resolve_attachments=not header_only)
    except Exception as error:
        # Zip, JSON and validation errors of many kinds: to the user they are all "not an Inspect log".
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path}: not a readable Inspect log ({reason}). Give a .eval or .json file that Inspect wrote."
        ) from None


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
        header = read_log(path, header_only=True)
    except UserError:
        if strict:
            raise
        return None  # a folder may hold other JSON
    spec = header.eval
    arguments = {name: value for name, value in spec.task_args.items() if name != "seed"}
    return LogInfo(
        path=path,
        suite=spec.task.split("/")[-1],
        model=spec.model,
        created=str(spec.created),
        status=header.status,
        settings=((spec.metadata or {}).get("charter")) or {},
        arguments=arguments,
        facts=_facts(header, arguments),
        seed=header.plan.config.seed,
        epochs=spec.config.epochs or 1,
    )


def _facts(header: EvalLog, arguments: Mapping[str, Any]) -> dict[str, str]:
    spec = header.eval
    # How many requests fly at once, and how they are retried, decides the time and not the numbers.
    speed = {"seed", "max_connections", "max_retries", "timeout", "attempt_timeout", "cache", "batch"}
    generation = header.plan.config.model_dump(exclude_none=True, exclude=speed)
    reducer = spec.config.epochs_reducer or ["mean"]
    facts: dict[str, Any] = {
        "the version of the task": spec.task_version,
        "a task argument": arguments or None,
        "the generation": generation or None,
        "the solver": spec.solver,
        "the number of epochs": spec.config.epochs,
        "the reducer of epochs": None if reducer == ["mean"] else reducer,
        "the model in a role": {name: str(role) for name, role in (spec.model_roles or {}).items()} or None,
    }
    ours = ((spec.metadata or {}).get("charter")) or {}
    facts |= {f"our {name}": value for name, value in ours.items() if name not in ("model", "model_digest", "seed")}
    return {name: _text(value) for name, value in facts.items() if value is not None}


def _variants(group: Sequence[LogInfo]) -> list[list[LogInfo]]:
    """Logs of one task apart by their arguments, named by those that differ. Ours are all one: the newest counts."""
    by_arguments: dict[str, list[LogInfo]] = {}
    for info in group:
        by_arguments.setdefault("" if info.settings else _text(info.arguments), []).append(info)
    if len(by_arguments) == 1:
        return list(by_arguments.values())
    every = [info.arguments for info in group]
    differing = sorted({name for one in every for name in one if len({_text(other.get(name)) for other in every}) > 1})

    def named(info: LogInfo) -> LogInfo:
        told = ",".join(f"{name}={_short(_text(info.arguments[name]))}" for name in differing if name in info.arguments)
        return replace(info, suite=f"{info.suite}[{told}]")

    return [[named(info) for info in logs] for logs in by_arguments.values()]


def _seeds(group: Sequence[LogInfo]) -> list[LogInfo]:
    """The newest log, with the newest of every other seed that is like it in all else: they are more epochs."""
    # Inspect notes the second; of two logs in one second the file written last is the newer.
    newest_first = sorted(group, key=lambda info: (info.created, info.path.stat().st_mtime_ns), reverse=True)
    chosen: dict[int | None, LogInfo] = {newest_first[0].seed: newest_first[0]}
    for info in newest_first[1:]:
        if info.seed is not None and None not in chosen and _alike(info, newest_first[0]):
            chosen.setdefault(info.seed, info)
    runs, before = [], 0
    for info in sorted(chosen.values(), key=lambda info: info.seed or 0):
        runs.append(replace(info, epochs_before=before))
        before += info.epochs
    return runs


def _alike(one: LogInfo, other: LogInfo) -> bool:
    ours = [{k: v for k, v in info.settings.items() if k != "seed"} for info in (one, other)]
    return ours[0] == ours[1] and one.facts == other.facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
