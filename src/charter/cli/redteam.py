"""`charter redteam run | list | freeze | import`: attack a model, keep what works, read others' findings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.cli.rows import check_writable, write_rows

if TYPE_CHECKING:
    from charter.redteam.run import Plan

app = typer.Typer(
    help="Attack a model as attackers do, and measure how often they get through.",
    epilog="Example: charter redteam run smollm2 --attacks rewriting --limit 20 --out attacks.jsonl",
    no_args_is_help=True,
)

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
    max_tokens: Annotated[int, typer.Option(min=1, help="most tokens of an answer")] = 96,
    token_budget: Annotated[int | None, typer.Option(min=1, help="stop after so many generated tokens")] = None,
    time_budget: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="stop after so long")] = None,
    seed: Annotated[int, typer.Option(help="of draws and random streams")] = 0,
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
    from charter.redteam.run import Plan
    from charter.redteam.run import run as attack
    from charter.redteam.scoring import attack_judge, default_judge
    from charter.redteam.sweep import Limits

    found = attacks_named(attacks)
    goals = shipped_behaviours() if behaviours is None else read_behaviours(behaviours)
    named = [clause.strip() for clause in (clauses or "").split(",") if clause.strip()]
    plan = Plan(
        found,
        chosen(goals, named, limit, seed),
        budget,
        attack_judge(judge).name if judge else default_judge(),
        Sampling(max_tokens=max_tokens, seed=seed),
        Limits(token_budget, time_budget),
        seed,
    )
    check_writable(out)
    parties = {"target": _party(model)}
    if translator:
        parties["translator"] = _party(translator)
    _say_plan(plan)
    pairs = len(plan.attacks) * len(plan.behaviours)
    journal = None if out == "-" else Path(f"{out}.journal")
    with Bar(f"Red team {model}", pairs, "attacks") as bar:
        done = attack(plan, parties, journal, lambda count, _, note: bar.update(count, note))
    write_rows(out, done.rows)
    show(done.rows, plan.judge, model)
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


def _party(name: str) -> Any:
    from charter.models.loading import load_model
    from charter.models.names import is_endpoint, text_model
    from charter.redteam.parties import Party

    return Party(text_model(name) if is_endpoint(name) or ":" in name else load_model(name))


def _say_plan(plan: Plan) -> None:
    from charter.redteam.scoring import MEANING

    print(
        f"{len(plan.attacks)} attacks on {len(plan.behaviours)} behaviours, at most {plan.budget} queries each; "
        f"judge {plan.judge}: an attack gets through when {MEANING[plan.judge]}",
        file=sys.stderr,
    )


def show(rows: list[dict[str, Any]], judge: str, model: str) -> None:
    """The rates as a table, on stderr when the rows went to stdout."""
    from rich.console import Console
    from rich.table import Table

    from charter.redteam.results import rates, unscored_reasons
    from charter.redteam.scoring import MEANING

    console = Console(stderr=True)
    meaning = MEANING.get(judge, judge)
    table = Table(
        title=f"Attacks on {model}",
        caption=f"Got through: {meaning}. 95% intervals are Wilson's.",
        title_justify="left",
    )
    for column in ("", "name", "n", "got through", "95% interval", "behaviours got", "queries", "unscored"):
        table.add_column(column, justify="left" if column in ("", "name") else "right", overflow="fold")
    for group in ("family", "technique", "attack"):
        for rate in rates(rows, group):
            table.add_row(
                group,
                rate.name,
                str(rate.n),
                "–" if rate.rate is None else f"{100 * rate.rate:.1f}%",
                f"{100 * rate.low:.1f}% – {100 * rate.high:.1f}%" if rate.n else "–",
                f"{rate.any} of {rate.behaviours}",
                "–" if rate.queries is None else f"{rate.queries:.1f}",
                str(rate.unscored),
            )
        table.add_section()
    console.print(table)
    for reason, count in list(unscored_reasons(rows).items())[:5]:
        console.print(f"{count} unscored: {reason}", highlight=False, markup=False, soft_wrap=True)
