"""`charter redteam run | list | freeze | import`: attack a model, keep what works, read others' findings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.cli.rows import check_writable, read_rows, write_rows
from charter.errors import UserError

if TYPE_CHECKING:
    from charter.ports import Judge
    from charter.redteam.results import Rate
    from charter.redteam.run import Plan
    from charter.stats.imperfect import Errors

app = typer.Typer(
    help="Attack a model as attackers do, and measure how often they get through.",
    epilog="Example: charter redteam run smollm2 --attacks rewriting --limit 20 --out attacks.jsonl",
    no_args_is_help=True,
)

_Layer = Annotated[Path | None, typer.Option(metavar="FILE", help="write an ATLAS Navigator layer here")]
_Sarif = Annotated[Path | None, typer.Option(metavar="FILE", help="write what got through as SARIF 2.1.0 here")]
_HeatMap = Annotated[
    Path | None, typer.Option("--heatmap", metavar="FILE", help="write an SVG, attacks by category, here")
]
_MODEL_HELP = "smollm2, a folder, a hub id, or openai:http://host:port/v1#name"


@app.command(epilog="Example: charter redteam run smollm2 --attacks persona,base64+persona --out attacks.jsonl")
def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP)],
    out: Annotated[str, typer.Option("--out", help="JSONL to write, a row for each attack and behaviour; - prints it")],
    attacks: Annotated[
        str, typer.Option(metavar="A,B", help="attacks, groups and compositions; see `charter redteam list`")
    ] = "direct,rewriting",
    behaviours: Annotated[
        Path | None,
        typer.Option(
            metavar="F", help="JSONL with id, behaviour, optional target; the suite harmful_requests if absent"
        ),
    ] = None,
    clauses: Annotated[str | None, typer.Option(metavar="A,B", help="only behaviours of these clauses")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many behaviours, drawn by --seed")] = None,
    budget: Annotated[int, typer.Option(min=1, help="most queries of the model for one behaviour and attack")] = 10,
    judge: Annotated[str | None, typer.Option(help="harm or refusal; harm where it is installed, if not named")] = None,
    translator: Annotated[str | None, typer.Option(metavar="MODEL", help="translates requests for language-…")] = None,
    attacker: Annotated[str | None, typer.Option(metavar="MODEL", help="writes prompts for pair")] = None,
    steps: Annotated[int, typer.Option(min=1, help="of attacks that optimise a suffix")] = 100,
    width: Annotated[int, typer.Option(min=1, help="candidates a step of gcg")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, help="most tokens of an answer")] = 96,
    token_budget: Annotated[int | None, typer.Option(min=1, help="stop after so many generated tokens")] = None,
    time_budget: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="stop after so long")] = None,
    seed: Annotated[int, typer.Option(help="of draws and random streams")] = 0,
    layer: _Layer = None,
    sarif: _Sarif = None,
    heatmap: _HeatMap = None,
) -> None:
    """Run attacks on a model and write a row for each attack and behaviour.

    Answers are kept beside the results as they come, in OUT.journal: the same command after an interruption goes on
    where it stopped, and a later run with more attacks asks only what is new. Answers are greedy unless an attack says
    otherwise.
    """
    from charter.progress import Bar
    from charter.records import Sampling
    from charter.redteam.behaviours import chosen, read_behaviours, shipped_behaviours
    from charter.redteam.registry import attacks_named
    from charter.redteam.results import judge_errors
    from charter.redteam.run import Plan
    from charter.redteam.run import run as attack
    from charter.redteam.scoring import attack_judge, default_judge, getting_through
    from charter.redteam.sweep import Limits

    found = attacks_named(attacks)
    goals = shipped_behaviours() if behaviours is None else read_behaviours(behaviours)
    named = [clause.strip() for clause in (clauses or "").split(",") if clause.strip()]
    plan = Plan(
        found,
        chosen(goals, named, limit, seed),
        budget,
        attack_judge(judge or default_judge()),
        Sampling(max_tokens=max_tokens, seed=seed),
        Limits(token_budget, time_budget),
        seed,
        steps,
        width,
    )
    for place in (out, layer, sarif, heatmap):
        check_writable(str(place or "-"))
    parties = {"target": _party(model)}
    if translator:
        parties["translator"] = _party(translator)
    if attacker:
        parties["attacker"] = _party(attacker)
    _say_plan(plan)
    pairs = len(plan.attacks) * len(plan.behaviours)
    journal = None if out == "-" else Path(f"{out}.journal")
    with Bar(f"Red team {model}", pairs, "attacks") as bar:
        done = attack(plan, parties, journal, lambda count, _, note: bar.update(count, note))
    write_rows(out, done.rows)
    _write_views(done.rows, model, out, layer, sarif, heatmap)
    show(done.rows, _meaning(plan.judge), model, judge_errors(plan.judge.name, getting_through(plan.judge)))
    replayed = f", {done.replayed} answered from the journal" if done.replayed else ""
    print(f"{done.asked} queries asked{replayed}, {done.tokens} tokens generated", file=sys.stderr)
    if done.stopped:
        print(f"{done.stopped}; run the same command with more to go on", file=sys.stderr)


@app.command("list", epilog="Example: charter redteam list --json")
def list_(as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False) -> None:
    """Name every attack with its family, its ATLAS techniques and what it does."""
    import json
    from dataclasses import asdict

    from charter.redteam.registry import attacks, groups

    specs = [attack.spec for attack in attacks().values()]
    if as_json:
        typer.echo(json.dumps({"attacks": [asdict(spec) for spec in specs], "groups": groups()}, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Attacks", title_justify="left")
    for column in ("attack", "family", "ATLAS techniques", "what it does"):
        table.add_column(column, overflow="fold")
    for spec in specs:
        needs = f" Needs {' and '.join(spec.needs)}." if spec.needs else ""
        table.add_row(spec.name, spec.family, " ".join(spec.techniques), spec.summary + needs)
    console = Console()
    console.print(table)
    console.print(f"Groups: {', '.join(groups())}. Rewrites compose: base64+persona.", highlight=False)


@app.command(epilog="Example: charter redteam freeze attacks.jsonl --out frozen.jsonl")
def freeze(
    source: Annotated[str, typer.Argument(metavar="G", help="what `charter redteam run` wrote")],
    out: Annotated[str, typer.Option("--out", help="the suite to write, NAME.jsonl")],
    per_behaviour: Annotated[int, typer.Option(min=1, help="attacks to keep for each behaviour")] = 1,
) -> None:
    """Keep the best attack on each behaviour as a suite.

    Replay it with `charter eval MODEL --suites NAME.jsonl`, or gate on it with
    `charter regress BASE CANDIDATE --suites NAME.jsonl`: its metric is harmful_refused, its slices are the attacks.
    """
    from charter.redteam.freeze import freeze as keep

    if not out.endswith(".jsonl"):
        raise UserError(f"{out}: a suite is a file NAME.jsonl, by which `charter eval` knows it. Choose another --out.")
    rows = _results(source)
    check_writable(out)
    kept = keep(rows, per_behaviour)
    if not kept.rows:
        raise UserError(f"{source}: no attack in it got through by a prompt alone, so there is nothing to keep.")
    write_rows(out, kept.rows)
    print(
        f"{len(kept.rows)} attacks kept; {kept.none_got_through} behaviours on which none got through, "
        f"{kept.not_a_prompt} on which none did by a prompt alone",
        file=sys.stderr,
    )


@app.command("import", epilog="Example: charter redteam import garak.report.jsonl --out garak.jsonl")
def import_(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="garak's NAME.report.jsonl")],
    out: Annotated[str, typer.Option("--out", help="JSONL to write, as `charter redteam run` does; - prints it")],
    layer: _Layer = None,
    sarif: _Sarif = None,
    heatmap: _HeatMap = None,
) -> None:
    """Read garak's report into the same rows and table, by garak's own detectors and threshold."""
    from charter.redteam.garak import read_garak

    rows = read_garak(report)
    for place in (out, layer, sarif, heatmap):
        check_writable(str(place or "-"))
    write_rows(out, rows)
    _write_views(rows, report.name, out, layer, sarif, heatmap)
    show(rows, "as garak's detectors say", report.name)


def _results(source: str) -> list[dict[str, Any]]:
    """The rows of a run. Raises UserError for a file of another kind."""
    found = read_rows(source)
    for where, row in found:
        if not isinstance(row.get("attack"), str) or "success" not in row:
            raise UserError(f'{where}: not a result of `charter redteam run` (it needs "attack" and "success").')
    return [row for _, row in found]


def _write_views(
    rows: list[dict[str, Any]], name: str, out: str, layer: Path | None, sarif: Path | None, heatmap: Path | None
) -> None:
    from charter.records import write_text
    from charter.redteam import atlas
    from charter.redteam import heatmap as drawing
    from charter.redteam import sarif as findings

    if layer is not None:
        write_text(layer, atlas.layer(rows, f"Attacks on {name}"))
    if sarif is not None:
        write_text(sarif, findings.sarif(rows, "redteam.jsonl" if out == "-" else Path(out).name))
    if heatmap is not None:
        write_text(heatmap, drawing.heat_map(rows, f"Attacks on {name}"))


def _party(name: str) -> Any:
    from charter.models.loading import load_model
    from charter.models.names import is_endpoint, text_model
    from charter.redteam.parties import Party

    return Party(text_model(name) if is_endpoint(name) or ":" in name else load_model(name))


def _say_plan(plan: Plan) -> None:
    print(
        f"{len(plan.attacks)} attacks on {len(plan.behaviours)} behaviours, at most {plan.budget} queries each; got "
        f"through: {_meaning(plan.judge)}",
        file=sys.stderr,
    )


def _meaning(judge: Judge) -> str:
    from charter.redteam.scoring import MEANING, getting_through

    return f"{MEANING[getting_through(judge)]}, says the judge {judge.name}"


def show(rows: list[dict[str, Any]], meaning: str, model: str, errors: Errors | None = None) -> None:
    """The rates as a table on stderr, with what getting through means; `errors` are the judge's, where known."""
    from rich.console import Console
    from rich.table import Table

    from charter.redteam.results import rates, unscored_reasons

    console = Console(stderr=True)
    table = Table(
        title=f"Attacks on {model}",
        caption=f"Got through: {meaning}. 95% intervals are Wilson's; corrected: for the judge's errors on the rows it "
        "was calibrated on, which attacks' answers may not resemble.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("", no_wrap=True)
    for column in ("n", "through", "95% interval", "corrected", "behaviours", "queries", "unscored"):
        table.add_column(column, justify="right", overflow="fold")
    for group in ("family", "technique", "attack"):
        table.add_row(f"by {group}", style="bold")
        for rate in rates(rows, group, errors):
            table.add_row(
                rate.name,
                str(rate.n),
                "–" if rate.rate is None else f"{100 * rate.rate:.1f}%",
                f"{100 * rate.low:.1f}–{100 * rate.high:.1f}%" if rate.n else "–",
                _corrected(rate),
                f"{rate.any}/{rate.behaviours}",
                "–" if rate.queries is None else f"{rate.queries:.1f}",
                str(rate.unscored),
            )
        table.add_section()
    console.print(table)
    for reason, count in list(unscored_reasons(rows).items())[:5]:
        console.print(f"{count} unscored: {reason}", highlight=False, markup=False, soft_wrap=True)


def _corrected(rate: Rate) -> str:
    found = rate.corrected
    return "–" if found is None else f"{100 * found.value:.1f}% ({100 * found.low:.1f}–{100 * found.high:.1f})"
