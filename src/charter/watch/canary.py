"""Canaries: a frozen suite, asked of the live model again and compared with the reference sample by sample.

The evaluation runs in a process of its own, since the evaluation engine allows one run at a time in a process.
"""

from __future__ import annotations

import math
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charter.errors import EXIT_INTERRUPTED, Unfinished, UserError
from charter.evaluation.compare import Comparison, compare
from charter.evaluation.sides import Side, read_side
from charter.stats.multiplicity import holm


def run_canaries(
    model: str, reference: Path, folder: Path, suites: Sequence[str] = (), limit: int | None = None, seed: int = 0,
    alpha: float = 0.05,
) -> tuple[list[dict[str, Any]], list[Comparison], list[str]]:  # fmt: skip
    """(alarms as `charter watch replay` writes them, what was compared, notes).

    reference: Inspect logs of the model as it was accepted; suites: of these, all by default.  A fresh folder is made
    under `folder` for each round, so that no earlier round's answers stand in for the model's.  If the model has not
    changed, an alarm has a chance of at most alpha for the whole round.  Raises Unfinished when the model could not be
    evaluated, UserError when nothing could be compared.
    """
    base = read_side("reference", reference)
    known = sorted({outcome.suite for outcome in base.outcomes})
    wanted = list(suites) or known
    unknown = [suite for suite in wanted if suite not in known]
    if unknown:
        raise UserError(f"{reference}: has no log of the suite {unknown[0]}. It has {', '.join(known)}.")
    place = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
    _evaluate(model, wanted, place, limit, seed)
    return judge_canaries(base.only(wanted), read_side(model, place), alpha, seed)


def judge_canaries(
    base: Side, candidate: Side, alpha: float, seed: int = 0
) -> tuple[list[dict[str, Any]], list[Comparison], list[str]]:
    """Alarms for metrics that got worse: two-sided paired p-values, adjusted by Holm over all metrics."""
    rows = [row for row in compare(base.outcomes, candidate.outcomes, seed) if row.slice is None]
    measured = [row for row in rows if row.p is not None]
    notes = [f"{row.suite}/{row.metric}: could not be compared: {row.problem}." for row in rows if row.p is None]
    notes += [f"{row.suite}/{row.metric}: {row.unscored} pairs are unscored." for row in measured if row.unscored]
    notes += [
        f"{row.suite}/{row.metric}: {row.base_only} samples of the reference were not asked." for row in measured
        if row.base_only
    ]  # fmt: skip
    if not measured:
        raise UserError(f"The canaries could not be compared with the reference. {' '.join(notes)}")
    now = datetime.now(UTC).isoformat()
    alarms = []
    for row, p in zip(measured, holm([row.p or 0.0 for row in measured]), strict=True):
        change = row.improvement()
        if p <= alpha and change is not None and change[0] < 0:
            alarms += [_alarm(row, p, alpha, now, clause) for clause in row.clauses or (None,)]
    return alarms, measured, notes


def _alarm(row: Comparison, p: float, alpha: float, now: str, clause: str | None) -> dict[str, Any]:
    return {
        "time": now, "kind": "canary", "clause": clause,
        "statistic": -math.log10(max(p, 1e-300)), "threshold": -math.log10(alpha),
        "evidence": {
            "measure": "-log10 p", "of": f"{row.suite}/{row.metric}", "n": row.n, "reference_mean": row.base,
            "window_mean": row.candidate, "delta": row.delta, "ci_low": row.ci_low, "ci_high": row.ci_high,
            "gained": row.gained, "lost": row.lost, "judge": row.judge,
        },
    }  # fmt: skip


def _evaluate(model: str, suites: Sequence[str], place: Path, limit: int | None, seed: int) -> None:
    command = [
        sys.executable, "-m", "charter.cli.main", "eval", model, "--suites", ",".join(suites),
        "--log-dir", str(place), "--seed", str(seed), "--json",
    ]  # fmt: skip
    command += ["--limit", str(limit)] if limit is not None else []
    # Its progress belongs on our stderr; its numbers are read from the logs.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode != 0:
        raise Unfinished(
            f"{model}: the canaries could not be asked (charter eval ended with {done.returncode}; its reason stands "
            "above). A model that does not answer is an incident of its own."
        )
