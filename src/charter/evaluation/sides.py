"""One side of a comparison, by a name: Inspect logs that are there, or a model that is measured first."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import UserError
from charter.evaluation.logs import LogInfo, log_infos
from charter.evaluation.results import Outcome, read_outcomes

if TYPE_CHECKING:
    from charter.ports import TextModel


@dataclass(frozen=True, slots=True)
class Side:
    """What was measured of one model: the name it was given by, its outcomes, the logs they are from."""

    name: str
    outcomes: tuple[Outcome, ...]
    logs: tuple[LogInfo, ...]

    def only(self, suites: Collection[str]) -> Side:
        """The same with these suites alone."""
        outcomes = tuple(outcome for outcome in self.outcomes if outcome.suite in suites)
        return replace(self, outcomes=outcomes, logs=tuple(log for log in self.logs if log.suite in suites))


def read_side(name: str, source: Path | Sequence[Path], slice_by: str = "slice") -> Side:
    """A side from its logs. Raises UserError as `read_outcomes` does."""
    return Side(name, tuple(read_outcomes(source, slice_by)), tuple(log_infos(source)))


def as_logs(name: str) -> Path | None:
    """The path, when the name is an Inspect log or a folder of logs rather than a model."""
    path = Path(name)
    if path.is_file() and path.suffix in (".eval", ".json"):
        return path
    if path.is_dir() and not any((path / config).exists() for config in ("config.json", "adapter_config.json")):
        return path if next(path.glob("**/*.eval"), None) or next(path.glob("**/*.json"), None) else None
    return None


def measure(
    name: str, suites: Sequence[str], log_dir: Path, limit: int | None, seed: int, *, cached: bool = True
) -> list[Path]:
    """Run suites on the model of that name, with a bar on stderr; the paths of their logs.

    cached: completions that the same weights gave before, to the same prompts, are not asked for again.
    """
    from charter.evaluation.named import NamedModel
    from charter.evaluation.runner import check_request, evaluate
    from charter.evaluation.suites.samples import load_suite
    from charter.models.names import is_endpoint, text_model
    from charter.progress import Bar

    check_request(suites, limit)
    elsewhere = is_endpoint(name) or ":" in name
    model: NamedModel | TextModel = text_model(name) if elsewhere else NamedModel(name, cached=cached)
    totals = {suite: min(limit or len(load_suite(suite)), len(load_suite(suite))) for suite in suites}
    finished: dict[str, int] = {}
    with Bar(f"Evaluating {name}", sum(totals.values()), "samples") as bar:

        def show(suite: str, done: int, _total: int) -> None:
            finished[suite] = done
            bar.update(sum(finished.values()), suite)

        paths = evaluate(model, suites, log_dir, limit=limit, seed=seed, progress=show)
    kept = sum(totals.values()) - model.asked if isinstance(model, NamedModel) and model.cache is not None else 0
    if kept:
        print(f"{name}: {kept} of {sum(totals.values())} answers were there already", file=sys.stderr)
    return paths


def suites_named(suites: str | None) -> list[str]:
    """The suites in a comma-separated text, all shipped ones for None. Raises UserError for an empty one."""
    from charter.evaluation import suite_names

    known = list(suite_names())
    wanted = [name.strip() for name in suites.split(",") if name.strip()] if suites is not None else known
    if not wanted:
        raise UserError(f"--suites is empty. Give at least one of: {', '.join(known)}.")
    return list(dict.fromkeys(wanted))
