"""A regression check on the terminal: the table, what could have been seen, weak slices, remarks, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from charter.evaluation.compare import Comparison
    from charter.evaluation.regression import Regression
    from charter.evaluation.summary import Summary


def show(regression: Regression) -> None:
    """Print all of it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.text import Text

    from charter.report.words import change, visible

    console = Console()
    console.print(_table(regression))
    for row in regression.rows:
        if row.slice is None and row.detectable is not None:
            unit = "" if row.kind == "score" else " points"
            seen = f"a change of {change(row.detectable, row.kind).lstrip('+')}{unit} is visible with 80% power"
            console.print(Text(visible(f"{row.metric}: with n={row.n} {seen}.")))
        if row.slice is None and row.problem:
            console.print(Text(visible(f"{row.metric}: {row.problem}."), style="yellow"))
    for finding in regression.slices:
        console.print(Text(visible(f"{finding.sentence()}."), style="red" if finding.alarm else ""))
    for note in regression.notes:
        console.print(Text(visible(f"{note}."), style="yellow"))
    say_judges(console, regression.rows)
    result = regression.result
    colour = {"pass": "green", "regressed": "red", "inconclusive": "yellow"}[result.verdict]
    console.print(f"Verdict: [bold {colour}]{result.verdict}[/] ({escape(visible(result.reason))})", highlight=False)


def say_judges(console: Any, rows: Sequence[Comparison] | Sequence[Summary]) -> None:
    """The measured agreement of every judge whose scores were shown, and the rates corrected for its errors."""
    from rich.markup import escape

    from charter.evaluation.corrections import judge_remarks

    for remark in judge_remarks(rows):
        console.print(escape(remark), highlight=False, soft_wrap=True)


def _table(regression: Regression) -> Table:
    from rich.table import Table
    from rich.text import Text

    from charter.report.words import NONE, change, level, visible

    table = Table(title=Text(visible(f"{regression.base} → {regression.candidate}")), title_justify="left")
    for column in ("metric", "n", "base", "candidate", "change", "95% interval", "p", "unscored", "verdict"):
        left = column in ("metric", "verdict")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in regression.rows:
        known = row.ci_low is not None
        table.add_row(
            Text(visible(row.metric if row.slice is None else f"  {row.slice}")),
            str(row.n),
            level(row.base, row.kind),
            level(row.candidate, row.kind),
            change(row.delta, row.kind),
            f"{change(row.ci_low, row.kind)} to {change(row.ci_high, row.kind)}" if known else NONE,
            NONE if row.p is None else f"{row.p:.3g}",
            str(row.unscored),
            regression.result.verdict_of(row) or ("descriptive" if row.descriptive else ""),
            style="dim" if row.slice is not None else None,
        )
    return table
