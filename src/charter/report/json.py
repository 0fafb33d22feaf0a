"""report.json: the same facts as the page, for scripts. The keys are a public interface; NaN is never written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from charter.report.data import ReportData
from charter.report.words import EXIT_CODES

METRIC_KEYS = (
    "name",
    "clause",
    "slice",
    "n",
    "base",
    "candidate",
    "delta",
    "ci_low",
    "ci_high",
    "p",
    "verdict",
    "unscored",
)


def report_json(data: ReportData) -> str:
    """The text of report.json, ending in a newline. Numbers that are not finite become null."""
    content = {
        "verdict": data.verdict,
        "exit_code": EXIT_CODES[data.verdict],
        "title": data.title,
        "summary": data.summary,
        "date": data.date,
        "model": {"name": data.model, "digest": data.model_digest},
        "candidate": {"name": data.candidate, "digest": data.candidate_digest},
        "charter": {"name": data.charter, "digest": data.charter_digest},
        "clauses": [asdict(clause) for clause in data.clauses],
        "metrics": [{key: getattr(row, key) for key in METRIC_KEYS} for row in data.metrics],
        "confidence": data.confidence,
        "gate": [asdict(rule) for rule in data.gate],
        "power": [asdict(row) for row in data.power],
        "judges": [asdict(row) for row in data.judges],
        "evidence": [{**asdict(row), "clauses": dict(row.clauses)} for row in data.evidence],
        "stages": [asdict(stage) for stage in data.stages],
        "watches": [{"stage": watch.stage, **watch.found} for watch in data.watches],
        "dropped": data.dropped,
        "versions": data.versions,
        "seeds": data.seeds,
        "hashes": data.hashes,
        "hardware": data.hardware,
        "decoding": data.decoding,
        "commands": data.commands,
    }
    return json.dumps(_plain(content), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """JSON's own types only: NaN and infinities to null, unpaired surrogates (no UTF-8) to U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8") if _has_surrogate(value) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
