"""What the experiments' pages share: tables, numbers, and the facts without which a number is worth nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charter.records import write_text


@dataclass(frozen=True)
class Claim:
    """A published claim, and whether it held here. held: None where what was measured cannot tell."""

    text: str
    held: bool | None
    seen: str

    @property
    def verdict(self) -> str:
        """In a word."""
        return "not decided" if self.held is None else "held" if self.held else "**did not hold**"


def facts() -> dict[str, Any]:
    """Date, versions and threads."""
    import torch
    import transformers

    import charter

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": f"charter {charter.__version__}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}",
        "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def number(value: float | None, digits: int = 2) -> str:
    """With a true minus; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A value with its interval."""
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(
    file: Path, title: str, opening: str, claims: Sequence[Claim], parts: Sequence[str], found: dict[str, Any]
) -> None:
    """The page of an experiment: what it is, the claims, its figure, its tables, how it was run."""
    how = found["facts"]
    claimed = table(("published", "here", "seen"), [(one.text, one.verdict, one.seen) for one in claims])
    last = (
        f"Measured {how['date']} with {how['versions']}; {how['threads']} thread, {found['seconds'] / 60:.1f} minutes "
        f"of processor time. Numbers: [{file.stem}.json]({file.stem}.json). This page is written by "
        f"`python experiments/{file.stem}.py --page`."
    )
    body = [f"# {title}", opening, "## What was claimed, and what was seen", claimed]
    body += [f"![The curves, described by the tables below]({file.stem}.svg)", *parts, last]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "\n\n".join(part.strip() for part in body) + "\n")
