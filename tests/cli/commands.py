"""Charter as a script calls it: a process of its own, its exit code, its streams."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "charter.cli.main"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb", "COLUMNS": "200"}
Done = subprocess.CompletedProcess[str]


def charter(*arguments: str | Path, cwd: Path | None = None, **options: Any) -> Done:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, check=False, **options)


_NURSERY = """
import json, os, sys, traceback
import torch, transformers, peft, datasets, charter.recipes.pipeline, charter.recipes.single
from charter.cli.main import run
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(job["cwd"])
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["charter", *job["arguments"]]
        code = 70
        try:
            run()
        except SystemExit as left:
            code = left.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def _nursery() -> subprocess.Popen[str]:
    """A process that has done the slow imports and forks a child for each command: seconds of each call saved."""
    process = subprocess.Popen(
        [sys.executable, "-c", _NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdin is not None
    # It ends when its standard input does: with this process at the latest.
    atexit.register(process.stdin.close)
    return process


def forked(*arguments: str | Path, cwd: Path) -> Done:
    """As `charter`, in a child of a process that has imported everything: for commands that end before computing."""
    process = _nursery()
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        job = {"cwd": str(cwd), "out": str(out), "err": str(err), "arguments": list(map(str, arguments))}
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def paragraph(done: Done) -> str:
    """What the user is told: the text after "charter:", which must be the last and one paragraph, no traceback."""
    assert "Traceback" not in done.stderr, done.stderr
    _, found, said = done.stderr.rpartition("\ncharter: ")
    assert found, done.stderr
    assert "\n" not in said.rstrip("\n"), done.stderr
    return said


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Say {i}.", "chosen": f"It is {i}.", "rejected": f"No {i}"} for i in range(count)]


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
