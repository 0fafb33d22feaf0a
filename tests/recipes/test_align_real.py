"""The main job, shortened, on the real small model: killed in training, run again, and told by its report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RECIPE = """\
recipe: 1
name: short
model: smollm2
seed: 1
limit: 8
data:
  pairs: {limit: 16, sample_tokens: 24}
  contrast: {prompts: 1, sample_tokens: 24}
train:
  - {method: sft, epochs: 1, batch_size: 4, save_every: 2}
  - {method: dpo, epochs: 1, batch_size: 4, save_every: 2}
"""
COMMAND = [sys.executable, "-m", "charter.cli.main", "align", "recipe.yaml", "--out", "run"]
STAGES = ["01-baseline", "02-data", "03-sft", "04-dpo", "05-evaluate"]
EXIT_CODES = {"pass": 0, "regressed": 1, "inconclusive": 3}
METRIC_KEYS = {
    "name", "clause", "slice", "n", "base", "candidate", "delta", "ci_low", "ci_high", "p", "verdict", "unscored",
}  # fmt: skip


def steps(folder: Path) -> int:
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def killed_in_training(folder: Path) -> None:
    """Run until SFT has taken a few steps, then SIGKILL."""
    with (folder / "first.log").open("w") as log:
        process = subprocess.Popen(COMMAND, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 400
        while steps(folder / "run/stages/03-sft") < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, (folder / "first.log").read_text()[-2000:]


def done_files(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = (folder / "run" / "stages").glob("*/done.json")
    return {path.parent.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.slow
def test_killed_in_training_and_run_again(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    killed_in_training(tmp_path)
    before = done_files(tmp_path)
    assert sorted(before) == STAGES[:2]
    logged = steps(tmp_path / "run/stages/03-sft")

    again = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert "Traceback" not in again.stderr, again.stderr
    after = done_files(tmp_path)
    assert sorted(after) == STAGES
    assert {name: after[name] for name in before} == before
    # Training went on rather than over: the metrics hold each step once, those before the kill included.
    lines = (tmp_path / "run/stages/03-sft/metrics.jsonl").read_text().splitlines()
    taken = [json.loads(line)["step"] for line in lines]
    assert taken == list(range(1, len(taken) + 1))
    assert len(taken) > logged
    assert "SFT: 0/" in again.stderr and f"SFT: {len(taken)}/{len(taken)}" in again.stderr  # noqa: PT018

    report: dict[str, Any] = json.loads((tmp_path / "run" / "report.json").read_text())
    assert again.returncode == EXIT_CODES[report["verdict"]]
    assert report["verdict"] in again.stdout
    assert {stage["name"]: stage["reused"] for stage in report["stages"]} == {
        "baseline": True, "data": True, "sft": False, "dpo": False, "evaluate": False,
    }  # fmt: skip
    seconds = {name: json.loads(text)["seconds"] for name, (text, _) in after.items()}
    assert [stage["seconds"] for stage in report["stages"]] == [seconds[name] for name in STAGES]
    whole = {row["name"]: row for row in report["metrics"] if row["slice"] is None and row["clause"] is None}
    assert {"harmful_refused", "benign_answered", "instruction_following", "knowledge"} <= set(whole)
    for row in report["metrics"]:
        assert set(row) == METRIC_KEYS
        assert 0 < row["n"] + row["unscored"] <= 8
        if row["delta"] is not None:
            assert row["delta"] == pytest.approx(row["candidate"] - row["base"])
            assert row["ci_low"] <= row["delta"] <= row["ci_high"]
    assert "dropped" in report
    for key in ("model", "charter", "versions"):
        assert report[key]
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.startswith("<!")
    assert not any(f'{attribute}="http' in page for attribute in ("src", "href"))

    rows = (tmp_path / "run/stages/02-data/preferences.jsonl").read_text().splitlines()
    assert len(rows) >= 32  # the benign pairs always have both sides
    third = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert third.returncode == again.returncode
    assert done_files(tmp_path) == after
