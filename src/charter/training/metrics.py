"""Training metrics as JSON lines, to TensorBoard and to a tracker on wish; all continue cleanly after a resume."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from charter.records import parse_jsonl, write_jsonl
from charter.training.trackers import Track, Tracker, open_tracker

log = logging.getLogger(__name__)


def resumed_file(path: Path, resumed_at: int) -> TextIO:
    """A file of JSON lines that each have a `step`, open at its end; what came after step `resumed_at` is dropped."""
    write_jsonl(path, [row for row in _rows(path) if row["step"] <= resumed_at])
    return path.open("a", encoding="utf-8")


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that may not be there, whole lines alone: a kill can leave half a line, even half a letter."""
    written = path.read_bytes() if path.exists() else b""
    return [row for _, row in parse_jsonl(written[: written.rfind(b"\n") + 1].splitlines(), str(path))]


class MetricsLog:
    """`metrics.jsonl` and TensorBoard events in `folder`; records after step `resumed_at` are dropped at the start.

    track: also send every step to this tracker, once; `fingerprint` and `config` are as in `open_tracker`.
    Raises UserError when the tracker does not start.
    """

    def __init__(
        self,
        folder: Path,
        resumed_at: int,
        track: Track | None = None,
        fingerprint: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "metrics.jsonl"
        written = _rows(path)
        self._tracker: Tracker | None = None
        self._sent = 0
        if track is not None:
            self._tracker, known = open_tracker(track, folder, fingerprint, config or {})
            # Steps after the checkpoint are made again to the same values: a tracker that has them takes no others.
            last = max((row["step"] for row in written), default=0)
            self._sent = 0 if not known else last if self._tracker.sent is None else self._tracker.sent
        self._file = resumed_file(path, resumed_at)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1)
        for row in written:
            if row["step"] <= resumed_at:
                self._track(row["step"], {name: value for name, value in row.items() if name != "step"})

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Record one optimiser step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(name, value, step)
        self._track(step, values)

    def close(self) -> None:
        """Flush all of them."""
        self._file.close()
        self._board.close()
        if self._tracker is not None:
            with self._let_go(), contextlib.redirect_stdout(sys.stderr):
                self._tracker.close()

    def _track(self, step: int, values: Mapping[str, Any]) -> None:
        if self._tracker is not None and step > self._sent:
            with self._let_go():
                self._tracker.log(step, {name: v for name, v in values.items() if isinstance(v, int | float)})
                self._sent = step

    @contextlib.contextmanager
    def _let_go(self) -> Iterator[None]:
        """A tracker that fails in the middle of a run is let go: hours of training are worth more than its copy."""
        try:
            yield
        except Exception as error:
            log.warning("the tracker failed and is not used any more in this run; metrics.jsonl has all: %s", error)
            self._tracker = None
