"""charter eval, compare, regress: measure a model, set two measurements side by side, and gate on the difference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from charter.evaluation.compare import Comparison
    from charter.evaluation.gate import Gate, GateResult
    from charter.models.loading import LocalModel
    from charter.ports import TextModel

Suites = Annotated[
    str | None, typer.Option(metavar="A,B", help="Suites, comma-separated. All shipped suites when left out.")
]
Limit = Annotated[int | None, typer.Option(help="At most so many samples a suite, drawn by --seed.")]
Seed = Annotated[int, typer.Option(help="Seed of the draw that --limit makes and of the bootstrap.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Margins = Annotated[
    list[str] | None, typer.Option("--margin", metavar="METRIC=X", help="Allowed fall, such as knowledge=0.05.")
]
Gains = Annotated[
    list[str] | None, typer.Option("--min-gain", metavar="METRIC=X", help="Needed gain, such as harmful_refused=0.")
]


def eval_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model name: smollm2, a folder, org/name, openai:…")],
    suites: Suites = None,
    log_dir: Annotated[Path, typer.Option(help="Where the Inspect logs go; finished suites there are kept.")] = Path(
        "runs/eval"
    ),
    limit: Limit = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run suites on a model and write Inspect logs (open them with `inspect view`).

    Example: charter eval smollm2 --suites harmful_requests,knowledge --log-dir runs/eval
    """
    from charter.evaluation.results import read_outcomes
    from charter.evaluation.summary import summarise

    paths = _evaluate(model, _suite_names(suites), log_dir, limit, seed)
    summaries = summarise(read_outcomes(paths))
    if as_json:
        typer.echo(
            json.dumps(
                {"logs": [str(path) for path in paths], "metrics": [row.as_row() for row in summaries]}, indent=1
            )
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{model}", caption="95% intervals are Wilson's.", title_justify="left")
    for column in ("suite", "metric", "n", "rate", "95% interval", "unscored"):
        left = column in ("suite", "metric")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in summaries:
        interval = f"{_percent(row.ci_low)} – {_percent(row.ci_high)}" if row.ci_low is not None else "–"
        table.add_row(row.suite, row.metric, str(row.n), _percent(row.value), interval, str(row.unscored))
    console = Console()
    console.print(table)
    _say_judges(console, {row.judge for row in summaries})
    for path in paths:
        console.print(f"log: {path}", style="dim", soft_wrap=True)


def compare(
    base: Annotated[Path, typer.Argument(metavar="A", help="The base: an Inspect log, or a folder of them.")],
    candidate: Annotated[Path, typer.Argument(metavar="B", help="The candidate: an Inspect log, or a folder.")],
    as_json: AsJson = False,
    margin: Margins = None,
    min_gain: Gains = None,
    seed: Seed = 0,
) -> None:
    """Set two evaluations side by side, sample by sample. Says what the gate would say; exits 0 in any case.

    Example: charter compare runs/eval/base runs/eval/tuned --json
    """
    from charter.evaluation.compare import compare as compare_outcomes
    from charter.evaluation.results import read_outcomes

    rows = compare_outcomes(read_outcomes(base), read_outcomes(candidate), seed)
    result = _gate(rows, margin, min_gain).decide(rows)
    _show(rows, result, as_json, f"{base} → {candidate}")


def regress(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A model name, or Inspect logs (file or folder).")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="A model name, or Inspect logs.")],
    suites: Suites = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML here.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers here.")] = None,
    log_dir: Annotated[Path, typer.Option(help="Where the Inspect logs go; finished suites there are kept.")] = Path(
        "runs/regress"
    ),
    limit: Limit = None,
    margin: Margins = None,
    min_gain: Gains = None,
    seed: Seed = 0,
) -> None:
    """Evaluate two models, compare them and gate: exit code 0 pass, 1 regressed, 3 inconclusive.

    By default no core metric may fall by 10 points.

    Example: charter regress smollm2 runs/demo/model --junit regress.xml --json regress.json
    """
    from charter.evaluation.compare import compare as compare_outcomes
    from charter.evaluation.results import read_outcomes
    from charter.evaluation.verdicts import junit_xml, result_rows
    from charter.records import write_text

    for path in (junit, json_path):
        if path is not None and path.is_dir():
            raise UserError(f"{path}: is a folder. Give the name of a file to write.")
    names = _suite_names(suites)
    sides = []
    for side, name in (("base", base), ("candidate", candidate)):
        logs = _as_logs(name)
        sides.append(logs if logs is not None else _evaluate(name, names, log_dir / side, limit, seed))
    before, after = (read_outcomes(side) for side in sides)
    if suites:
        before, after = ([o for o in side if o.suite in names] for side in (before, after))
    rows = compare_outcomes(before, after, seed)
    gate = _gate(rows, margin, min_gain)
    result = gate.decide(rows)
    if json_path is not None:
        text = json.dumps({"base": base, "candidate": candidate} | result_rows(rows, result), indent=1)
        write_text(json_path, text + "\n")
    if junit is not None:
        write_text(junit, junit_xml(result))
    _show(rows, result, False, f"{base} → {candidate}")
    raise typer.Exit(result.exit_code())


def _suite_names(suites: str | None) -> list[str]:
    from charter.evaluation import suite_names

    known = list(suite_names())
    wanted = [name.strip() for name in suites.split(",") if name.strip()] if suites is not None else known
    if not wanted:
        raise UserError(f"--suites is empty. Give at least one of: {', '.join(known)}.")
    return list(dict.fromkeys(wanted))


def _evaluate(name: str, suites: Sequence[str], log_dir: Path, limit: int | None, seed: int) -> list[Path]:
    from charter.evaluation.runner import check_request, evaluate
    from charter.evaluation.suites.samples import load_suite
    from charter.models.loading import load_model
    from charter.models.names import is_endpoint, text_model
    from charter.progress import Bar

    check_request(suites, limit)
    model: LocalModel | TextModel = text_model(name) if is_endpoint(name) or ":" in name else load_model(name)
    totals = {suite: min(limit or len(load_suite(suite)), len(load_suite(suite))) for suite in suites}
    finished: dict[str, int] = {}
    with Bar(f"Evaluating {name}", sum(totals.values()), "samples") as bar:

        def show(suite: str, done: int, _total: int) -> None:
            finished[suite] = done
            bar.update(sum(finished.values()), suite)

        return evaluate(model, suites, log_dir, limit=limit, seed=seed, progress=show)


def _as_logs(name: str) -> Path | None:
    """The path, when the name is an Inspect log or a folder of logs rather than a model."""
    path = Path(name)
    if path.is_file() and path.suffix in (".eval", ".json"):
        return path
    if path.is_dir() and not any((path / config).exists() for config in ("config.json", "adapter_config.json")):
        return path if next(path.glob("**/*.eval"), None) or next(path.glob("**/*.json"), None) else None
    return None


def _gate(rows: Sequence[Comparison], margins: list[str] | None, gains: list[str] | None) -> Gate:
    from charter.evaluation.gate import Gate, regression_gate

    if not margins and not gains:
        return regression_gate(rows)
    config: dict[str, dict[str, Any]] = {}
    for option, items in (("margin", margins), ("min_gain", gains)):
        for item in items or []:
            metric, _, number = item.partition("=")
            try:
                config.setdefault(metric.strip(), {})[option] = float(number)
            except ValueError:
                flag = option.replace("_", "-")
                raise UserError(f'--{flag} "{item}" is not METRIC=NUMBER. Example: --{flag} knowledge=0.05.') from None
    return Gate.from_config(config, "--margin/--min-gain")


def _show(rows: Sequence[Comparison], result: GateResult, as_json: bool, title: str) -> None:
    if as_json:
        from charter.evaluation.verdicts import result_rows

        typer.echo(json.dumps(result_rows(rows, result), indent=1))
        return
    from rich.console import Console

    console = Console()
    console.print(_table(rows, result, title))
    for row in rows:
        if row.slice is None and row.detectable is not None:
            seen = f"a change of {100 * row.detectable:.1f} points is visible with 80% power"
            console.print(f"{row.metric}: with n={row.n} {seen}.", highlight=False)
        if row.slice is None and row.problem:
            console.print(f"{row.metric}: {row.problem}.", style="yellow", highlight=False)
    _say_judges(console, {row.judge for row in rows})
    colour = {"pass": "green", "regressed": "red", "inconclusive": "yellow"}[result.verdict]
    console.print(f"Verdict: [bold {colour}]{result.verdict}[/] ({result.reason})", highlight=False)


def _table(rows: Sequence[Comparison], result: GateResult, title: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("metric", "n", "base", "candidate", "change", "95% interval", "p", "unscored", "verdict"):
        left = column in ("metric", "verdict")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in rows:
        name = row.metric if row.slice is None else f"  {row.slice}"
        interval = f"{_points(row.ci_low)} to {_points(row.ci_high)}" if row.ci_low is not None else "–"
        verdict = result.verdict_of(row) or ("descriptive" if row.descriptive else "")
        table.add_row(
            name,
            str(row.n),
            _percent(row.base),
            _percent(row.candidate),
            _points(row.delta),
            interval,
            "–" if row.p is None else f"{row.p:.3g}",
            str(row.unscored),
            verdict,
            style="dim" if row.slice is not None else None,
        )
    return table


def _say_judges(console: Any, judges: set[str | None]) -> None:
    """The measured agreement of every judge whose scores were shown."""
    from charter.evaluation.summary import agreement_text

    for name in sorted(name for name in judges if name):
        console.print(agreement_text(name), highlight=False, soft_wrap=True)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"
