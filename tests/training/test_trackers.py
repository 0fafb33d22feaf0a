"""Metrics at Weights & Biases, MLflow and Trackio, read back from what each real client wrote offline."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tracked import KILLED, SAVED, STEPS

from charter.errors import UserError
from charter.recipes.single import train_single
from charter.training.extras import check_installed
from charter.training.metrics import MetricsLog
from charter.training.settings import TrainSettings
from charter.training.trackers import TRACKERS

ABSENT = {
    "mlflow": "an extra of many packages, left out of the test extra",
    "trackio": "an extra that holds other packages back (pillow below 13), left out of the test extra",
}


@pytest.fixture
def wandb_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the client's mode, which it reads once in a process."""
    import wandb

    wandb.teardown()
    yield lambda mode: monkeypatch.setenv("WANDB_MODE", mode)
    wandb.teardown()


def run(track: str, place: Path, how: str) -> int:
    """The exit status of tracked.py, with every client offline and its files under `place`."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(place / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db",
    }
    script = [sys.executable, str(Path(__file__).with_name("tracked.py")), track, str(place / "run"), how]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "", "standard output is for results"
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def found(track: str, place: Path) -> list[tuple[int, float]]:
    """(step, loss) as the client wrote them, in that order; all must be of one run."""
    if track == "wandb":
        return in_wandb(place)
    if track == "mlflow":
        with sqlite3.connect(place / "mlflow.db") as file:
            assert file.execute("select count(*), max(status) from runs").fetchall() == [(1, "FINISHED")]
            return file.execute(
                "select step, value from metrics where key = 'loss' order by timestamp, step"
            ).fetchall()
    with sqlite3.connect(place / "trackio" / "charter.db") as file:
        assert file.execute("select count(distinct run_id) from metrics").fetchall() == [(1,)]
        rows = file.execute("select step, metrics from metrics order by id").fetchall()
        return [(step, json.loads(metrics)["loss"]) for step, metrics in rows]


def in_wandb(place: Path) -> list[tuple[int, float]]:
    """What the newest offline folder holds, which is the one to sync."""
    from wandb.proto import wandb_internal_pb2

    folders = sorted((place / "run" / "wandb").glob("offline-run-*"))
    assert len({path.name.rpartition("-")[2] for path in folders}) == 1
    rows = []
    for data in log_records(next(folders[-1].glob("*.wandb")).read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            values = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            rows.append((int(values["_step"]), json.loads(values["loss"])))
    return rows


def log_records(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: after 7 bytes of the client's own, blocks of 32 KiB, in which each piece has its
    checksum (4 bytes), length (2) and whether it is whole, first, middle or last (1)."""
    block, at, held = 32768, 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        held += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield held
            held = b""


@pytest.mark.slow
@pytest.mark.parametrize("track", TRACKERS)
def test_a_killed_run_goes_on_in_the_same_run_and_sends_no_step_twice(track: str, tmp_path: Path) -> None:
    if track in ABSENT:
        pytest.importorskip(track, reason=ABSENT[track])
    assert run(track, tmp_path, "killed") == -signal.SIGKILL
    first = json.loads((tmp_path / "run" / "tracker.json").read_text())
    assert run(track, tmp_path, "whole") == 0
    assert json.loads((tmp_path / "run" / "tracker.json").read_text()) == first
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert SAVED < KILLED < STEPS == len(lines)
    seen = found(track, tmp_path)
    assert [step for step, _ in seen] == list(range(1, STEPS + 1))
    assert [loss for _, loss in seen] == pytest.approx([line["loss"] for line in lines])


@pytest.mark.slow
def test_a_tracker_switched_on_for_a_resumed_run_gets_the_earlier_steps(tmp_path: Path) -> None:
    assert run("", tmp_path, "killed") == -signal.SIGKILL
    assert run("wandb", tmp_path, "whole") == 0
    assert [step for step, _ in in_wandb(tmp_path)] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("track", TRACKERS)
def test_a_missing_client_is_named_with_the_command(
    track: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, track, None)
    with pytest.raises(UserError, match=rf"`track: {track}` needs .*pip install 'charter\[{track}\]'"):
        check_installed(TrainSettings.model_validate({"track": track}))
    with pytest.raises(UserError, match="pip install"):
        MetricsLog(tmp_path, 0, track)  # type: ignore[arg-type]


def test_a_client_that_does_not_start_is_an_error_before_training(
    tmp_path: Path, wandb_mode: Callable[[str], None]
) -> None:
    wandb_mode("nonsense")
    with pytest.raises(UserError, match=r"`track: wandb` could not start: .*leave the option out"):
        MetricsLog(tmp_path, 0, "wandb")


def test_a_tracker_that_fails_later_is_let_go(
    tmp_path: Path, wandb_mode: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", said.append)
    # Another library that set up logging earlier in this process may have switched the logger off.
    own = logging.getLogger("charter.training.metrics")
    for name, value in (("disabled", False), ("level", logging.WARNING), ("handlers", [handler])):
        monkeypatch.setattr(own, name, value)
    wandb_mode("offline")
    metrics = MetricsLog(tmp_path, 0, "wandb")
    metrics.write(1, {"loss": 1.0})
    metrics._tracker.close()  # type: ignore[union-attr]
    metrics.write(2, {"loss": 0.5})
    assert metrics._tracker is None
    metrics.write(3, {"loss": 0.4})
    metrics.close()
    assert sum("the tracker failed" in record.getMessage() for record in said) == 1
    lines = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3]


def test_another_training_in_the_same_folder_is_another_run(tmp_path: Path, wandb_mode: Callable[[str], None]) -> None:
    wandb_mode("offline")
    names = []
    for fingerprint in ("one", "one", "other"):
        metrics = MetricsLog(tmp_path, 0, "wandb", fingerprint, {"lora": None, "epochs": 2})
        metrics.write(1, {"loss": 1.0})
        metrics.close()
        names.append(json.loads((tmp_path / "tracker.json").read_text())["id"])
    assert names[0] == names[1] != names[2]


def test_an_unknown_tracker_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'--track "wandbb".*Did you mean "wandb".*wandb or mlflow or trackio'):
        train_single("sft", "smollm2", "rows.jsonl", tmp_path / "run", None, track="wandbb")
    assert not (tmp_path / "run").exists()
