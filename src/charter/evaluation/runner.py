"""Run suites on a model through Inspect: one log a suite, under a name that says what was measured."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter import __version__
from charter.errors import Unfinished, UserError, nearest
from charter.evaluation.suites.samples import SUITES, load_suite, suite_digest
from charter.ports import TextModel
from charter.records import Sampling

if TYPE_CHECKING:
    from charter.evaluation.named import NamedModel
    from charter.models.loading import LocalModel

SuiteProgress = Callable[[str, int, int], None]
"""Called with (suite, samples answered, samples in all) as a suite runs; once with all of them when it is kept."""

log = logging.getLogger(__name__)


def evaluate(
    model: LocalModel | NamedModel | TextModel,
    suites: Sequence[str],
    log_dir: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: SuiteProgress | None = None,
) -> list[Path]:
    """Run `suites` on `model`; the paths of their Inspect logs, in that order.

    A suite whose finished log is in `log_dir` already, for the same model, samples, settings and version of charter,
    is not repeated. A log appears there only when its suite has finished. `limit` samples are drawn with `seed`.
    Nothing is sent anywhere. Raises UserError for an unknown suite or an unwritable folder, Unfinished when Inspect
    could not finish or when no sample at all could be answered.
    """
    check_request(suites, limit)
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{log_dir}: the log folder cannot be made ({error.strerror}). Give a writable one.") from None
    report = progress or (lambda *_: None)
    paths = []
    for suite in suites:
        path = log_dir / log_name(model, suite, limit, seed)
        if not _finished(path):
            _run(model, suite, path, limit, seed, report)
        else:
            total = min(limit or len(load_suite(suite)), len(load_suite(suite)))
            report(suite, total, total)
        paths.append(path)
    return paths


def check_request(suites: Sequence[str], limit: int | None) -> None:
    """Raises UserError for an unknown suite or a limit that leaves nothing to measure: before a model is loaded."""
    for suite in suites:
        if suite not in SUITES:
            raise UserError(f'There is no suite "{suite}".{nearest(suite, list(SUITES))} Suites: {", ".join(SUITES)}.')
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: nothing would be measured. Give a number of samples greater than 0.")


def log_name(model: LocalModel | NamedModel | TextModel, suite: str, limit: int | None = None, seed: int = 0) -> str:
    """The file name of a suite's log: the model's name, the suite, and a hash of all that decides the numbers."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", model.name.rstrip("/").split("/")[-1]).strip("-.")[:40] or "model"
    text = json.dumps(settings_of(model, suite, limit, seed), sort_keys=True)
    return f"{plain}_{suite}_{hashlib.sha256(text.encode()).hexdigest()[:12]}.eval"


def settings_of(model: LocalModel | NamedModel | TextModel, suite: str, limit: int | None, seed: int) -> dict[str, Any]:
    """All that decides a suite's numbers. An endpoint's weights cannot be hashed: it stands under its name."""
    from charter.evaluation.tasks import SPECS

    spec = SPECS[suite]
    return {
        "model": model.name,
        "model_digest": getattr(getattr(model, "local", model), "digest", None),
        "suite": suite,
        "suite_digest": suite_digest(suite),
        "max_tokens": spec.max_tokens,
        "temperature": 0.0,
        "seed": seed,
        "limit": limit,
        "draw": "nested",
        "judge": spec.judge,
        "scoring": _scoring_digest(spec.judge),
        "charter": __version__,
    }


@cache
def _scoring_digest(judge: str | None) -> str:
    """sha256 over what turns an answer into a score: the judge's description (names its weights), or the checkers."""
    import charter

    package = Path(charter.__file__).parent
    parts = [package / "judges" / "weights" / f"{judge}.json"] if judge else [package / "evaluation/suites/checks.py"]
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts if part.exists())).hexdigest()


def _finished(path: Path) -> bool:
    from inspect_ai.log import read_eval_log

    if not path.exists():
        return False
    try:
        return bool(read_eval_log(str(path), header_only=True).status == "success")
    except Exception as error:
        log.warning("%s is not a readable log and is written again (%s)", path, error)
        return False


def _run(
    model: LocalModel | NamedModel | TextModel,
    suite: str,
    path: Path,
    limit: int | None,
    seed: int,
    report: SuiteProgress,
) -> None:
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import GenerateConfig

    from charter.evaluation.provider import CONNECTIONS, close_model, inspect_model
    from charter.evaluation.tasks import SPECS, TASKS, shared_judge

    judge = SPECS[suite].judge
    if judge is not None:
        shared_judge(judge).load()
    task = TASKS[suite](limit=limit, seed=seed)
    total = len(task.dataset)
    done = 0

    def answered() -> None:
        nonlocal done
        done += 1
        report(suite, done, total)

    report(suite, 0, total)
    _load_if_asked(model, task, suite, seed)
    settings = settings_of(model, suite, limit, seed)
    with _quiet(), tempfile.TemporaryDirectory(prefix=".running-", dir=path.parent) as folder:
        served = inspect_model(model, GenerateConfig(max_connections=max(CONNECTIONS, total)), answered)
        try:
            logs = inspect_eval(
                task,
                model=served,
                display="none",
                log_dir=folder,
                log_format="eval",
                log_level="error",
                log_realtime=False,
                log_model_api=False,
                log_buffer=max(100, total),
                ctl_server=False,
                acp_server=False,
                notification=False,
                max_samples=total,
                seed=seed,
                metadata={"charter": settings, "judge_agreement": _agreement(judge)},
                # One sample that cannot be answered is one unscored sample, not the end of the suite.
                fail_on_error=False,
            )
        finally:
            close_model(served)
        # Inspect swallows Ctrl-C: it comes back with a cancelled log, or with none.
        if not logs or logs[0].status == "cancelled":
            raise KeyboardInterrupt
        if logs[0].status != "success":
            why = logs[0].error.message if logs[0].error else "Inspect gave no reason"
            raise Unfinished(f'The suite "{suite}" could not be finished on {model.name}: {why}')
        _refuse_all_failed(logs[0].samples or [], suite, model.name)
        os.replace(_local(logs[0].location), path)


def _load_if_asked(model: object, task: Any, suite: str, seed: int) -> None:
    """Load a model that has to say something new now: a failure is the user's to read, not a sample's error."""
    from charter.evaluation.named import NamedModel
    from charter.evaluation.provider import conversation_of_chat
    from charter.evaluation.tasks import SPECS

    if isinstance(model, NamedModel):
        sampling = Sampling(max_tokens=SPECS[suite].max_tokens, seed=seed)
        if not all(model.knows(conversation_of_chat(sample.input), sampling) for sample in task.dataset):
            model.load()


def _agreement(judge: str | None) -> dict[str, Any] | None:
    """The judge's measured agreement with people, to stand in the log beside its scores; null where there is none."""
    from charter.judges.calibration import judge_agreement

    found = judge_agreement(judge) if judge is not None else None
    return None if found is None else found.as_json()


def _refuse_all_failed(samples: Sequence[Any], suite: str, name: str) -> None:
    errors = [sample.error.message for sample in samples if sample.error is not None]
    if samples and len(errors) == len(samples):
        raise Unfinished(
            f'The suite "{suite}": {name} answered none of {len(samples)} samples. The first error was: {errors[0]}. '
            "See that the model loads and answers (`charter generate`), then run the same command again."
        )


def _local(location: str) -> str:
    return location.removeprefix("file://")


@contextmanager
def _quiet() -> Iterator[None]:
    """Inspect's telemetry and notification hooks are switched on by these variables: off while we run."""
    names = (
        "INSPECT_TELEMETRY",
        "INSPECT_API_KEY_OVERRIDE",
        "INSPECT_EVAL_NOTIFICATION",
        "INSPECT_EVAL_LOG_FILE_PATTERN",
    )
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    backend = os.environ.get("INSPECT_ASYNC_BACKEND")
    os.environ["INSPECT_ASYNC_BACKEND"] = "asyncio"
    try:
        yield
    finally:
        os.environ.update(before)
        if backend is None:
            del os.environ["INSPECT_ASYNC_BACKEND"]
        else:
            os.environ["INSPECT_ASYNC_BACKEND"] = backend
