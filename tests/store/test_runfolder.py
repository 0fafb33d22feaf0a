"""Stages are done once, resumed where they were left, done anew when what decides them changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charter.errors import UserError
from charter.store.runfolder import RunFolder, file_digest


class Work:
    """A stage's work that writes a file, and counts how often it was asked and what it found in its folder."""

    def __init__(self, fail: bool = False) -> None:
        self.found: list[list[str]] = []
        self.fail = fail

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / "half.txt").write_text("half")
        if self.fail:
            raise KeyboardInterrupt
        return {"rows": 3}


def test_a_finished_stage_is_reused_by_the_next_process(tmp_path: Path) -> None:
    work = Work()
    first = RunFolder(tmp_path).stage("data", {"seed": 1}, work)
    before = (first.folder / "done.json").read_bytes()
    again = RunFolder(tmp_path).stage("data", {"seed": 1}, work)
    assert len(work.found) == 1
    assert (first.reused, again.reused) == (False, True)
    assert (again.result, again.seconds, again.folder) == ({"rows": 3}, first.seconds, first.folder)
    assert (first.folder / "done.json").read_bytes() == before
    assert first.folder == tmp_path / "stages" / "01-data"
    assert json.loads((first.folder / "config.json").read_text())["seed"] == 1


def test_a_changed_config_starts_from_an_empty_folder(tmp_path: Path) -> None:
    work = Work()
    RunFolder(tmp_path).stage("data", {"seed": 1}, work)
    done = RunFolder(tmp_path).stage("data", {"seed": 2}, work)
    assert work.found == [["config.json"], ["config.json"]]
    assert not done.reused


def test_an_interrupted_stage_gets_its_folder_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path).stage("sft", {"seed": 1}, Work(fail=True))
    assert not (tmp_path / "stages" / "01-sft" / "done.json").exists()
    work = Work()
    RunFolder(tmp_path).stage("sft", {"seed": 1}, work)
    assert work.found == [["config.json", "half.txt"]]


def test_an_interrupted_stage_of_another_config_is_cleared(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path).stage("sft", {"seed": 1}, Work(fail=True))
    work = Work()
    RunFolder(tmp_path).stage("sft", {"seed": 2}, work)
    assert work.found == [["config.json"]]


def test_another_version_of_charter_does_the_stage_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    RunFolder(tmp_path).stage("data", {}, work)
    monkeypatch.setattr("charter.__version__", "999")
    assert not RunFolder(tmp_path).stage("data", {}, work).reused


@pytest.mark.parametrize("content", ["", "{half", '{"key": "other"}'])
def test_a_done_file_that_cannot_be_trusted_is_not(tmp_path: Path, content: str) -> None:
    work = Work()
    folder = RunFolder(tmp_path).stage("data", {}, work).folder
    (folder / "done.json").write_text(content)
    assert not RunFolder(tmp_path).stage("data", {}, work).reused


def test_stages_that_the_recipe_no_longer_has_are_dropped(tmp_path: Path) -> None:
    longer = RunFolder(tmp_path)
    for name in ("data", "sft", "dpo"):
        longer.stage(name, {}, Work())
    shorter = RunFolder(tmp_path)
    for name in ("data", "dpo"):
        shorter.stage(name, {}, Work())
    shorter.drop_later()
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == ["01-data", "02-dpo"]


HOLD = """
import sys, time
from pathlib import Path
from charter.store.runfolder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_on_the_same_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another charter process"), RunFolder(tmp_path).locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with RunFolder(tmp_path).locked() as run:
        assert run.path == tmp_path


def under_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "run"


def a_file(folder: Path) -> Path:
    (folder / "run").write_text("")
    return folder / "run"


def read_only(folder: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (folder / "closed").mkdir(mode=0o555)
    return folder / "closed" / "run"


@pytest.mark.parametrize("place", [under_a_file, a_file, read_only])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    path = place(tmp_path)
    with pytest.raises(UserError, match="cannot be written") as caught, RunFolder(path).locked():
        pass
    assert str(path) in str(caught.value)


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "abc") == wanted
