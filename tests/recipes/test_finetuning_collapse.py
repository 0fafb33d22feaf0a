"""The fine-tuning experiment on tiny models: its arms, its table, and that it goes on where it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from charter.records import Demonstration, user_prompt
from charter.training.methods.sft import SftSettings, train_sft

SCRIPT = Path(__file__).parents[2] / "experiments" / "finetuning_collapse.py"


@pytest.mark.slow
def test_the_experiment_runs_and_resumes(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"Say {i}.", "input": "", "response": f"Number {i}."} for i in range(12)]
    data = tmp_path / "data" / "gpteacher"
    data.mkdir(parents=True)
    for name in ("codegen-instruct", "roleplay-simple-deduped-roleplay-instruct"):
        (data / f"{name}.json").write_text(json.dumps(rows))
    safe = [Demonstration(f"s{i}", user_prompt(f"Break {i}."), "I won't.") for i in range(4)]
    aligned = train_sft(str(tiny_base), safe, SftSettings(learning_rate=5e-3, epochs=2), tmp_path / "aligned").model
    command = [
        sys.executable, str(SCRIPT), str(tmp_path / "data"), "--model", str(aligned), "--unaligned", str(tiny_base),
        "--out", str(tmp_path / "out"), "--sizes", "8", "--protect", "none,safe-lora", "--limit", "3",
    ]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert first.returncode == 0, first.stderr
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [(row["rows"], row["protect"]) for row in results] == [(0, "–"), (8, "none"), (8, "safe-lora")]
    for row in results[1:]:
        assert set(row["changes"]) == {"harmful_refused", "harmful_refused_at_all", "benign_answered"}
        assert row["task_nats"] > 0
    # The task is learned: what is held out is predicted better than before.
    assert results[1]["task_nats"] < results[0]["task_nats"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.count("\n") == 5
    # Its seconds would be others if it were trained again.
    trained = (tmp_path / "out" / "runs" / "gpteacher-8-none" / "sft" / "metrics.jsonl").read_text()
    second = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "out" / "runs" / "gpteacher-8-none" / "sft" / "metrics.jsonl").read_text() == trained
    assert (tmp_path / "out" / "table.md").read_text() == table
