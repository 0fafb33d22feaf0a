"""report.json for scripts, and both files written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from charter.document.evidence import read_evidence
from charter.errors import EXIT_UNFINISHED, Unfinished
from charter.report import MetricRow, ReportData, write_report
from charter.report.json import report_json

METRIC_KEYS = {
    *("name", "clause", "slice", "n", "base", "candidate", "delta"),
    *("ci_low", "ci_high", "p", "verdict", "unscored"),
}


def strict(text: str) -> dict[str, object]:
    def refuse(word: str) -> None:
        raise AssertionError(f"not JSON: {word}")

    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


def test_the_interface_others_script(data: ReportData) -> None:
    report = strict(report_json(data))
    assert {"verdict", "model", "charter", "metrics", "stages", "dropped", "versions"} <= report.keys()
    assert {"evidence", "judges", "seeds", "gate"} <= report.keys()
    metrics = report["metrics"]
    assert isinstance(metrics, list)
    assert all(set(row) == METRIC_KEYS for row in metrics)
    assert metrics[0]["base"] == 0.0333
    assert metrics[0]["slice"] is None
    assert report["stages"][0] == {"name": "01-baseline", "seconds": 171.4, "status": "done", "reused": True}  # type: ignore[index]


def test_numbers_that_could_not_be_had_are_null(data: ReportData) -> None:
    row = MetricRow("m", 0, None, float("nan"), float("inf"), float("-inf"), None, None)
    text = report_json(dataclasses.replace(data, metrics=(row,), title="lone \ud800"))
    report = strict(text)
    written = report["metrics"][0]  # type: ignore[index]
    assert [written[key] for key in ("base", "candidate", "delta", "ci_low", "ci_high")] == [None] * 5
    text.encode("utf-8")


def test_lint_can_read_the_evidence(data: ReportData, tmp_path: Path) -> None:
    write_report(data, tmp_path)
    found = read_evidence(tmp_path)
    assert [e.metric for e in found] == [e.metric for e in data.evidence]
    assert [dict(e.clauses) for e in found] == [dict(e.clauses) for e in data.evidence]


def test_both_files_are_written_and_nothing_else(data: ReportData, tmp_path: Path) -> None:
    write_report(data, tmp_path / "runs" / "demo")
    assert sorted(p.name for p in (tmp_path / "runs" / "demo").iterdir()) == ["report.html", "report.json"]


def test_when_one_cannot_be_written_neither_is(data: ReportData, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("the last one", encoding="utf-8")
    (tmp_path / "report.json").mkdir()
    with pytest.raises(Unfinished, match="could not be written") as caught:
        write_report(data, tmp_path)
    assert caught.value.exit_code == EXIT_UNFINISHED
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "the last one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_run_folder_that_is_a_file_is_an_error_for_people(data: ReportData, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(Unfinished, match="could not be written"):
        write_report(data, tmp_path / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_leaves_the_earlier_report(data: ReportData, tmp_path: Path) -> None:
    """A child with a file size limit runs out of room in the middle of report.html, as on a full disk."""
    write_report(data, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from conftest import realistic; from charter.report import write_report\n"
        "from charter.errors import Unfinished\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"try: write_report(realistic(), Path({str(tmp_path)!r}))\n"
        "except Unfinished: sys.exit(4)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == EXIT_UNFINISHED, done.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_importing_the_records_is_light() -> None:
    code = "import sys, charter.report; print([m for m in ('jinja2', 'torch', 'scipy', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
