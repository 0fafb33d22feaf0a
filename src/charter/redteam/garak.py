"""garak's report.jsonl as rows of results, so that its findings stand in the same table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from charter.errors import UserError
from charter.records import read_jsonl
from charter.redteam.protocol import BLACK_BOX, CRAFTING, DIRECT, INDIRECT, JAILBREAK, OBFUSCATION, WHITE_BOX

COMPLETE: Final = 2
DEFAULT_THRESHOLD: Final = 0.5
TECHNIQUES: Final[Mapping[str, tuple[str, ...]]] = {
    "atkgen": (JAILBREAK, BLACK_BOX),
    "dan": (JAILBREAK, CRAFTING),
    "dra": (JAILBREAK, OBFUSCATION),
    "encoding": (DIRECT, OBFUSCATION),
    "fitd": (JAILBREAK, CRAFTING),
    "goat": (JAILBREAK, BLACK_BOX),
    "goodside": (DIRECT,),
    "grandma": (JAILBREAK, CRAFTING),
    "latentinjection": (INDIRECT,),
    "leakreplay": ("AML.T0057",),
    "packagehallucination": ("AML.T0062",),
    "phrasing": (JAILBREAK, CRAFTING),
    "promptinject": (DIRECT,),
    "smuggling": (JAILBREAK, OBFUSCATION),
    "suffix": (JAILBREAK, WHITE_BOX),
    "tap": (JAILBREAK, BLACK_BOX),
    "web_injection": (INDIRECT,),
}
"""Techniques of garak's probe modules, as read by us; a module that is not here has none."""


def read_garak(path: Path) -> list[dict[str, Any]]:
    """A row for each finished attempt: a success when any detector gave any of its outputs the report's threshold.

    An attempt that no detector scored is unscored. Raises UserError when the file is not a report, or holds no
    finished attempt.
    """
    threshold = DEFAULT_THRESHOLD
    rows = []
    seen = False
    for number, entry in read_jsonl(path):
        kind = entry.get("entry_type")
        seen = seen or isinstance(kind, str)
        if kind == "start_run setup":
            threshold = float(entry.get("run.eval_threshold", threshold))
        elif kind == "attempt" and entry.get("status") == COMPLETE:
            rows.append(_row(entry, threshold, f"{path}, line {number}"))
    if not rows:
        why = "no attempt in it is finished" if seen else "its lines have no entry_type"
        raise UserError(f"{path}: not a garak report with results ({why}). Give garak's NAME.report.jsonl.")
    return rows


def _row(entry: Mapping[str, Any], threshold: float, where: str) -> dict[str, Any]:
    probe = str(entry.get("probe_classname") or "unknown").removeprefix("garak.probes.").removeprefix("probes.")
    results = entry.get("detector_results") or {}
    outputs = [_text(output) for output in entry.get("outputs") or []]
    if not isinstance(results, Mapping):
        raise UserError(f'{where}: "detector_results" is not an object. Is this a garak report?')
    scored = [
        (float(score), place, detector)
        for detector, scores in results.items()
        for place, score in enumerate(scores or [])
        if isinstance(score, int | float)
    ]
    prompt = _prompt(entry.get("prompt"))
    row: dict[str, Any] = {
        "id": str(entry.get("uuid") or where),
        "behaviour": str(entry.get("goal") or probe),
        "attack": f"garak/{probe}",
        "family": f"garak/{probe.split('.')[0]}",
        "techniques": list(TECHNIQUES.get(probe.split(".")[0], ())),
        "clauses": [],
        "category": "",
        "judge": "garak",
        "success": None,
        "score": None,
        "label": None,
        "queries": len(outputs),
        "seconds": None,
        "prompt": prompt,
        "completion": outputs[0] if outputs else None,
    }
    if not scored:
        return row | {"unscored": "no detector of garak scored it"}
    score, place, detector = max(scored)
    return row | {
        "success": score >= threshold,
        "score": min(max(score, 0.0), 1.0),
        "label": detector,
        "completion": outputs[place] if place < len(outputs) else None,
    }


def _text(output: Any) -> str | None:
    """An output is a text in older reports, a message in newer ones, null where the model did not answer."""
    return output.get("text") if isinstance(output, Mapping) else output


def _prompt(value: Any) -> str | list[dict[str, Any]] | None:
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else None
    turns = [
        {"role": str(turn.get("role") or "user"), "content": str(_text(turn.get("content")) or "")}
        for turn in value.get("turns") or []
    ]
    if len(turns) == 1 and turns[0]["role"] == "user":
        return turns[0]["content"]
    return turns or value.get("text")
