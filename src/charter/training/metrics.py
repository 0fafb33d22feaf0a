"""Training metrics as JSON lines, and to TensorBoard; both continue cleanly after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from charter.records import read_jsonl, write_jsonl


def resumed_file(path: Path, resumed_at: int) -> TextIO:
    """A file of JSON lines that each have a `step`, open at its end; what came after step `resumed_at` is dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        # A kill can leave half a line; whole ones up to the checkpoint are kept.
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
        write_jsonl(path, [row for _, row in read_jsonl(path) if row["step"] <= resumed_at])
    return path.open("a", encoding="utf-8")


class MetricsLog:
    """`metrics.jsonl` and TensorBoard events in `folder`; records after step `resumed_at` are dropped at the start."""

    def __init__(self, folder: Path, resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._file = resumed_file(folder / "metrics.jsonl", resumed_at)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Record one optimiser step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush both."""
        self._file.close()
        self._board.close()
