"""Several processes train one model to what one process makes of it: fp32, to 1e-4."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import groups_of, metrics
from together import CASES, LONG, RANDOM, command, environment, run_case, together

from charter.training.devices import Devices, bounds

WORKER = str(Path(__file__).with_name("together.py"))
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of every case; one start for all, as starting takes most of the time."""
    folder = tmp_path_factory.mktemp("two")
    ended = together(2, WORKER, "all", str(folder))
    assert ended.returncode == 0, ended.stderr[-4000:]
    return folder


def assert_same_run(got: Path, want: Path) -> None:
    """Same steps, losses, logged means and gradient norms; same weights at the end."""
    for ours, theirs in zip(metrics(got), metrics(want), strict=True):
        assert ours.keys() == theirs.keys()
        # How many tokens are run depends on which prompts stand together in a row and share their beginning.
        for name in ours.keys() - {"tokens", "seconds", "tokens_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4, rel=1e-4), (name, ours["step"])
    ends = [load_file(folder / "end.safetensors") for folder in (got, want)]
    assert ends[0].keys() == ends[1].keys()
    for name, weight in ends[1].items():
        torch.testing.assert_close(ends[0][name], weight, **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", [*CASES, *RANDOM])
def test_two_processes_give_what_one_gives(name: str, shared: Path, tmp_path: Path) -> None:
    run_case({**CASES, **RANDOM}[name], tmp_path)
    first, *_, last = (step["loss"] for step in metrics(tmp_path))
    assert abs(first - last) > 1e-3
    assert_same_run(shared / name, tmp_path)


def test_a_loss_that_is_nan_in_one_process_stops_all_and_names_the_row(shared: Path) -> None:
    told = [(shared / "broken" / f"error-{rank}.txt").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    assert "nan at step 1 (rows: row-7)" in told[0]


def test_fused_layers_run_on_gathered_weights(shared: Path) -> None:
    for rank in (0, 1):
        seen = json.loads((shared / "fused" / f"fused-{rank}.json").read_text())
        # Three layers of seven adapters and two norms, and the last norm: in the probe before sharding, and in the
        # one row. Norms are also compared with the original's when they are found.
        assert seen["FusedLora"] == 2 * 21
        assert seen["FusedRMSNorm"] == 3 * 7


def test_checkpoints_are_safetensors_and_text_and_each_process_holds_half(shared: Path) -> None:
    (folder,) = (shared / "sft, every weight" / "checkpoints").glob("step-*")
    assert {path.name for path in folder.iterdir()} == {
        "state.json",
        "optimizer-1-of-2.safetensors",
        "optimizer-2-of-2.safetensors",
    }
    parts = [load_file(folder / f"optimizer-{n}-of-2.safetensors") for n in (1, 2)]
    whole = load_file(shared / "sft, every weight" / "end.safetensors")
    sizes = [sum(t.numel() for name, t in part.items() if name.endswith("master")) for part in parts]
    assert sum(sizes) == sum(t.numel() for t in whole.values())
    assert max(sizes) < 0.52 * sum(sizes)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(2, 90),
)
def test_rows_are_dealt_out_whole_and_in_equal_number(
    shapes: list[tuple[int, int]], world: int, row_tokens: int
) -> None:
    groups = groups_of(*shapes)
    shares = [list(Devices(rank, world).share(groups, row_tokens)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    dealt = [group.key for share in shares for row, real in share if real for group in row.groups]
    assert sorted(dealt) == sorted(group.key for group in groups)
    assert all(row.tokens == 2 for share in shares for row, real in share if not real)
    loads = [sum(g.length for row, real in share if real for g in row.groups) for share in shares]
    assert max(loads) - min(loads) <= max(group.length for group in groups)


@given(st.integers(1, 40), st.integers(1, 9))
def test_bounds_are_those_of_torch_chunk(length: int, world: int) -> None:
    chunks = torch.arange(length).chunk(world)
    for rank in range(world):
        start, stop = bounds(length, rank, world)
        assert list(range(start, stop)) == (chunks[rank].tolist() if rank < len(chunks) else [])


def killed(processes: int, name: str, folder: Path) -> int:
    """Start a long run of a case, SIGKILL all its processes after some steps; returns how many steps it had logged."""
    arguments = [WORKER, name, str(folder)]
    log, file = folder.with_suffix(".log"), folder / "metrics.jsonl"
    with log.open("w") as out:
        running = subprocess.Popen(
            command(processes, *arguments), env=environment(), stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and running.poll() is None:
            if file.exists() and file.read_text().count("\n") >= 4:
                break
            time.sleep(0.005)
        assert running.poll() is None, log.read_text()[-3000:]
    finally:
        # torchrun gives each process a session of its own: all are killed by their ids.
        running.kill()
        running.wait()
        for file_of_id in folder.parent.glob("pid-*"):
            os.kill(int(file_of_id.read_text()), signal.SIGKILL)
            file_of_id.unlink()
    return file.read_text().count("\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("sft, every weight", 2, 1),
        ("dpo, adapters", 1, 2),
        ("dpo, adapters", 2, 2),
        ("sft, every weight", 2, 3),
        ("cost, 3 heads, adapters", 2, 1),
    ],
)
def test_a_killed_run_goes_on_with_another_number_of_processes(
    name: str, before: int, after: int, tmp_path: Path
) -> None:
    steps = LONG * 3
    assert 4 <= killed(before, name, tmp_path / "killed") < steps
    assert not (tmp_path / "killed" / "end.safetensors").exists()
    ended = together(after, WORKER, name, str(tmp_path / "killed"))
    assert ended.returncode == 0, ended.stderr[-4000:]
    run_case(CASES[name], tmp_path / "whole", epochs=LONG)
    assert [row["step"] for row in metrics(tmp_path / "killed")] == list(range(1, steps + 1))
    # thirty steps add up rounding: ten times the tolerance of the short runs
    for ours, theirs in zip(metrics(tmp_path / "killed"), metrics(tmp_path / "whole"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3, rel=1e-3)
