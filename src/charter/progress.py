"""Progress on stderr: a live bar with rate and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_LINE_EVERY_SECONDS = 15.0


class Bar:
    """Progress over `total` units of work, shown from the start.

    `update(done, note)` sets how much is finished; `note` is a short text beside the rate, such as "loss 0.41".
    shown: False for a process whose work another one's bar shows.
    """

    def __init__(self, title: str, total: int, unit: str, *, shown: bool = True) -> None:
        self._title, self._total, self._unit, self._shown = title, max(total, 1), unit, shown
        self._start = self._last_line = time.monotonic()
        self._begun_at = 0
        self._seen = False
        self._rich: RichProgress | None = None

    def __enter__(self) -> Self:
        if not self._shown:
            return self
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
                transient=False,
            )
            self._task = self._rich.add_task(self._title, total=self._total, text="")
            self._rich.start()
        else:
            print(f"{self._title}: 0/{self._total} {self._unit}", file=sys.stderr, flush=True)
        return self

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of the total is finished. The first call after a resume sets where the rate starts."""
        if not self._seen:
            self._seen = True
            if done > 1:
                # Work finished by an earlier process says nothing about this one's speed.
                self._begun_at, self._start = done, time.monotonic()
        if not self._shown:
            return
        text = self._text(min(done, self._total), note)
        if self._rich is not None:
            self._rich.update(self._task, completed=min(done, self._total), text=text)
        elif done >= self._total or time.monotonic() - self._last_line >= _LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            print(f"{self._title}: {text}", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def _text(self, done: int, note: str) -> str:
        seconds = time.monotonic() - self._start
        rate = (done - self._begun_at) / seconds if seconds > 0 else 0.0
        left = f"{clock((self._total - done) / rate)} left" if rate > 0 and done < self._total else clock(seconds)
        speed = f"{rate:.3g} {self._unit}/s" if rate > 0 else ""
        parts = [f"{done}/{self._total} {self._unit}", speed, left, note]
        return " · ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
