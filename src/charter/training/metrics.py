"""Training metrics as JSON lines, to TensorBoard and to a tracker on wish; all continue cleanly after a resume."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charter.records import read_jsonl, write_jsonl
from charter.training.trackers import Track, Tracker, open_tracker

log = logging.getLogger(__name__)


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

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        written: list[dict[str, Any]] = []
        if path.exists():
            # A kill can leave half a line; whole ones up to the checkpoint are kept.
            text = path.read_text(encoding="utf-8")
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
            written = [row for _, row in read_jsonl(path)]
        kept = [row for row in written if row["step"] <= resumed_at]
        self._tracker: Tracker | None = None
        self._sent = 0
        if track is not None:
            self._tracker, known = open_tracker(track, folder, fingerprint, config or {})
            # Steps after the checkpoint are made again to the same values: a tracker that has them takes no others.
            last = max((row["step"] for row in written), default=0)
            self._sent = 0 if not known else last if self._tracker.sent is None else self._tracker.sent
        if path.exists():
            write_jsonl(path, kept)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1)
        for row in kept:
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
