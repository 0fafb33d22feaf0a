"""Ctrl-C: exit code 130, and the same command goes on to the end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import COMMAND, ENVIRONMENT, charter, pairs, paragraph, write_rows

STEPS = 60


def steps(run: Path) -> list[int]:
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


@pytest.mark.slow
def test_interrupted_training_is_130_and_resumes(tmp_path: Path, tiny_base: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(8))
    config = tmp_path / "sft.yaml"
    config.write_text(f"epochs: {STEPS // 4}\nbatch_size: 2\nsave_every: 5\nlora: {{r: 2}}\n")
    run = tmp_path / "run"
    arguments = ["train", "sft", "--model", tiny_base, "--data", data, "--out", run, "--config", config]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        deadline = time.monotonic() + 120
        while len(steps(run)) < 10 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert "run the same command again" in paragraph(
        subprocess.CompletedProcess(process.args, process.returncode, out, err)
    )
    interrupted = steps(run)
    assert 10 <= len(interrupted) < STEPS
    assert not (run / "model").exists()
    done = charter(*arguments)
    assert done.returncode == 0, done.stderr
    # It went on from a checkpoint rather than from the start.
    kept = len(interrupted) - len(interrupted) % 5
    assert f"SFT: {kept}/{STEPS}" in done.stderr or f"SFT: {STEPS}/{STEPS}" in done.stderr
    assert steps(run) == list(range(1, STEPS + 1))
    assert (run / "model" / "adapter_model.safetensors").exists()
