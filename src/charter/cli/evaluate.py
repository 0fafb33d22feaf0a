"""charter eval, compare, regress: measure a model, set two measurements side by side, and gate on the difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from charter.errors import UserError

if TYPE_CHECKING:
    from charter.evaluation.regression import Regression, Rules
    from charter.report.outputs import Format

Suites = Annotated[
    str | None, typer.Option(metavar="A,B", help="Suites, comma-separated. All shipped suites when left out.")
]
Limit = Annotated[int | None, typer.Option(help="At most so many samples a suite, drawn by --seed.")]
Seed = Annotated[int, typer.Option(help="Seed of the draw that --limit makes and of the bootstrap.")]
Cached = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Take answers that the same weights gave before from disk.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Margins = Annotated[
    list[str] | None, typer.Option("--margin", metavar="METRIC=X", help="Allowed fall, such as knowledge=0.05.")
]
Gains = Annotated[
    list[str] | None, typer.Option("--min-gain", metavar="METRIC=X", help="Needed gain, such as harmful_refused=0.")
]
Only = Annotated[
    list[str] | None, typer.Option("--gate", metavar="METRIC", help="Gate exactly these metrics. Repeat for more.")
]
Lower = Annotated[
    list[str] | None, typer.Option("--lower-is-better", metavar="METRIC", help="Less of it is better. Repeatable.")
]
SliceBy = Annotated[str, typer.Option(metavar="KEY", help="Key of the samples' metadata that names their slice.")]
PairBy = Annotated[
    Literal["auto", "id"], typer.Option(help="auto pairs by question where equal ids carry different ones; id never.")
]
Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML here.")]
Markdown = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a comment for a pull request here.")]
Sarif = Annotated[Path | None, typer.Option(metavar="FILE", help="Write SARIF 2.1.0 here.")]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a page with the flipped samples side by side here.")
]


def eval_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model name: smollm2, a folder, org/name, openai:…")],
    suites: Suites = None,
    log_dir: Annotated[Path, typer.Option(help="Where the Inspect logs go; finished suites there are kept.")] = Path(
        "runs/eval"
    ),
    limit: Limit = None,
    seed: Seed = 0,
    cache: Cached = True,
    as_json: AsJson = False,
) -> None:
    """Run suites on a model and write Inspect logs (open them with `inspect view`).

    Example: charter eval smollm2 --suites harmful_requests,knowledge --log-dir runs/eval
    """
    from charter.evaluation.corrections import corrected_summary
    from charter.evaluation.results import read_outcomes
    from charter.evaluation.sides import measure, suites_named
    from charter.evaluation.summary import summarise

    paths = measure(model, suites_named(suites), log_dir, limit, seed, cached=cache)
    summaries = summarise(read_outcomes(paths))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "logs": [str(path) for path in paths],
                    "metrics": [row.as_row() | {"corrected": corrected_summary(row)} for row in summaries],
                },
                indent=1,
            )
        )
        return
    from rich.console import Console
    from rich.table import Table

    from charter.cli.verdict_table import say_judges

    table = Table(title=f"{model}", caption="95% intervals are Wilson's.", title_justify="left")
    for column in ("suite", "metric", "n", "rate", "95% interval", "unscored"):
        left = column in ("suite", "metric")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in summaries:
        interval = f"{_percent(row.ci_low)} – {_percent(row.ci_high)}" if row.ci_low is not None else "–"
        table.add_row(row.suite, row.metric, str(row.n), _percent(row.value), interval, str(row.unscored))
    console = Console()
    console.print(table)
    say_judges(console, summaries)
    for path in paths:
        console.print(f"log: {path}", style="dim", soft_wrap=True)


def compare(
    base: Annotated[Path, typer.Argument(metavar="A", help="The base: an Inspect log, or a folder of them.")],
    candidate: Annotated[Path, typer.Argument(metavar="B", help="The candidate: an Inspect log, or a folder.")],
    as_json: AsJson = False,
    markdown: Markdown = None,
    html: Html = None,
    margin: Margins = None,
    min_gain: Gains = None,
    gate: Only = None,
    lower_is_better: Lower = None,
    slice_by: SliceBy = "slice",
    pair_by: PairBy = "auto",
    seed: Seed = 0,
) -> None:
    """Set two evaluations side by side, sample by sample. Says what the gate would say; exits 0 in any case.

    The logs may come from any Inspect task.

    Example: charter compare runs/eval/base runs/eval/tuned --json
    """
    from charter.cli.verdict_table import show
    from charter.evaluation.regression import check
    from charter.evaluation.sides import read_side
    from charter.report.outputs import check_places, write_outputs

    files = _files(markdown=markdown, html=html)
    check_places(files)
    rules = _rules(margin, min_gain, gate, lower_is_better, pair_by, seed)
    found = check(read_side(str(base), base, slice_by), read_side(str(candidate), candidate, slice_by), rules)
    write_outputs(found, files)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
    else:
        show(found)


def regress(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A model name, or Inspect logs (file or folder).")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="A model name, or Inspect logs.")],
    suites: Suites = None,
    junit: Junit = None,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers here.")] = None,
    markdown: Markdown = None,
    sarif: Sarif = None,
    html: Html = None,
    annotations: Annotated[bool, typer.Option(help="Print GitHub workflow commands, which it shows as notes.")] = False,
    log_dir: Annotated[Path, typer.Option(help="Where the Inspect logs go; finished suites there are kept.")] = Path(
        "runs/regress"
    ),
    limit: Limit = None,
    margin: Margins = None,
    min_gain: Gains = None,
    gate: Only = None,
    lower_is_better: Lower = None,
    slice_by: SliceBy = "slice",
    pair_by: PairBy = "auto",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Run nothing: say the time, what can be detected, and the odds.")
    ] = False,
    discordance: Annotated[
        float | None, typer.Option(min=0, max=1, help="With --estimate: share of samples taken to change. 0.2.")
    ] = None,
    cache: Cached = True,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="Stop where a sequential test is certain of the verdict; says so.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Evaluate two models, compare them and gate: exit code 0 pass, 1 regressed, 3 inconclusive.

    By default no core metric may fall by 10 points; --margin and --min-gain change that for the metrics they name.

    Example: charter regress smollm2 runs/demo/model --junit regress.xml --json regress.json
    """
    from charter.cli.verdict_table import show
    from charter.evaluation.comments import workflow_commands
    from charter.evaluation.early import check_early, look_sizes
    from charter.evaluation.regression import check
    from charter.evaluation.sides import as_logs, measure, read_side, suites_named
    from charter.models.names import is_endpoint
    from charter.report.outputs import check_places, write_outputs

    files = _files(junit=junit, json=json_path, markdown=markdown, sarif=sarif, html=html)
    check_places(files)
    rules = _rules(margin, min_gain, gate, lower_is_better, pair_by, seed)
    names = suites_named(suites)
    if discordance is not None and not estimate:
        raise UserError("--discordance is an assumption for --estimate; a run measures it. Leave it out, or add it.")
    if estimate:
        if files or annotations or min_gain:
            raise UserError(
                "--estimate runs nothing, so there is no result to write, and it reckons with margins only. Leave the "
                "outputs and --min-gain out."
            )
        _estimate((base, candidate), names, log_dir, limit, rules, discordance)
        return
    logs = {"base": as_logs(base), "candidate": as_logs(candidate)}
    if stop_early and (any(logs.values()) or not cache or is_endpoint(base) or is_endpoint(candidate)):
        raise UserError(
            "--stop-early measures two models of this machine bit by bit and takes what was answered before from the "
            "cache: give two such models, and leave --no-cache out."
        )

    def checked(size: int | None) -> Regression:
        sides = []
        for side, name in (("base", base), ("candidate", candidate)):
            folder = log_dir / side if size == limit else log_dir / "looks" / str(size) / side
            source = logs[side] or measure(name, names, folder, size, seed, cached=cache)
            read = read_side(name, source, slice_by)
            sides.append(read.only(names) if suites else read)
        return check(sides[0], sides[1], rules)

    found = check_early(checked, look_sizes(names, limit), limit) if stop_early else checked(limit)
    write_outputs(found, files)
    show(found)
    if annotations:
        for line in workflow_commands(found):
            typer.echo(line)
    raise typer.Exit(found.result.exit_code())


def _files(**paths: Path | None) -> dict[Format, Path]:
    return {cast("Format", name): path for name, path in paths.items() if path is not None}


def _rules(
    margins: list[str] | None,
    gains: list[str] | None,
    only: list[str] | None,
    lower_is_better: list[str] | None,
    pair_by: Literal["auto", "id"],
    seed: int,
) -> Rules:
    from charter.evaluation.regression import Rules

    return Rules(
        margins=_demands("--margin", margins),
        gains=_demands("--min-gain", gains),
        only=tuple(only or ()),
        lower_is_better=tuple(lower_is_better or ()),
        pair_by=pair_by,
        seed=seed,
    )


def _demands(flag: str, items: list[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in items or []:
        metric, _, number = item.rpartition("=")
        try:
            found[metric.strip()] = float(number)
        except ValueError:
            raise UserError(f'{flag} "{item}" is not METRIC=NUMBER. Example: {flag} knowledge=0.05.') from None
    return found


def _estimate(
    sides: tuple[str, str], suites: list[str], log_dir: Path, limit: int | None, rules: Rules, discordance: float | None
) -> None:
    """Print what the check could see, of the base's logs where it is logs, otherwise of the suites."""
    from rich.console import Console

    from charter.evaluation.estimate import DISCORDANCE, DROP, estimate, planned_seconds, planned_sizes, sizes_of_logs
    from charter.evaluation.runner import check_request
    from charter.evaluation.sides import as_logs
    from charter.report.words import duration

    check_request(suites, limit)
    logs = as_logs(sides[0])
    sizes = planned_sizes(suites, limit) if logs is None else sizes_of_logs(logs)
    if rules.only:
        sizes = {key: n for key, n in sizes.items() if {key[1], "/".join(key)} & set(rules.only)}
    if not sizes:
        raise UserError("--estimate: no metric that could be gated is in what was named, so there is nothing to say.")
    seconds = {
        f"{side} ({name})": 0.0 if as_logs(name) else planned_seconds(log_dir / side, suites, limit)
        for side, name in zip(("base", "candidate"), sides, strict=True)
    }
    found = estimate(sizes, seconds, rules.margins, DISCORDANCE if discordance is None else discordance)
    console = Console()
    for one in found.metrics:
        seen = "no change" if one.detectable is None else f"a change of {100 * one.detectable:.1f} points"
        console.print(
            f"{one.metric}: n={one.n}, {seen} visible with 80% power among {len(found.metrics)} gated metrics; "
            f"inconclusive in {one.unchanged[2]:.1%} of runs when nothing changed; a fall of {100 * DROP:g} points "
            f"ends regressed in {one.dropped[1]:.1%}.",
            highlight=False,
            soft_wrap=True,
        )
    for side, needed in found.seconds.items():
        told = f"at most {duration(needed)}" if needed is not None else "not known: no earlier log of it in --log-dir"
        console.print(f"Time for the {side}: {told}.", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"If nothing changed: pass {found.passes:.1%}, inconclusive {found.inconclusive:.1%}, regressed "
        f"{found.regressed:.1%} (if {found.discordance:.0%} of samples change their value by chance).",
        highlight=False,
        soft_wrap=True,
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"
