"""The account of a run: one page for people (report.html) and the same facts for scripts (report.json)."""

from __future__ import annotations

from pathlib import Path

from charter.errors import Unfinished
from charter.records import write_text
from charter.report.data import (
    ClauseRow,
    Curve,
    EvidenceRow,
    GateRule,
    JudgeRow,
    MetricRow,
    PowerRow,
    ReportData,
    SampleRow,
    StageRow,
    Verdict,
    Watch,
    read_curve,
)

__all__ = [
    "ClauseRow",
    "Curve",
    "EvidenceRow",
    "GateRule",
    "JudgeRow",
    "MetricRow",
    "PowerRow",
    "ReportData",
    "SampleRow",
    "StageRow",
    "Verdict",
    "Watch",
    "read_curve",
    "write_report",
]


def write_report(data: ReportData, folder: Path) -> None:
    """Write report.html and report.json into `folder`, both or neither.

    Both are rendered and stored under other names before either takes its place, so a full disk leaves an earlier
    report as it was. Raises Unfinished when the folder cannot be written.
    """
    from charter.report.html import report_html
    from charter.report.json import report_json

    texts = {"report.html": report_html(data), "report.json": report_json(data)}
    staged = {folder / name: folder / f".{name}.staged" for name in texts}
    try:
        for (path, waiting), text in zip(staged.items(), texts.values(), strict=True):
            if path.is_dir():
                raise IsADirectoryError(21, "it is a folder", str(path))
            write_text(waiting, text)
        for path, waiting in staged.items():
            waiting.replace(path)
    except OSError as error:
        raise Unfinished(
            f"{folder}: the report could not be written ({error.strerror or error}). "
            "Free some space or make the folder writable, then run the same command again; finished stages are kept."
        ) from error
    finally:
        for waiting in staged.values():
            if waiting.parent.is_dir():
                waiting.unlink(missing_ok=True)
