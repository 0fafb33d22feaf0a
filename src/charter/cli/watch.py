"""`charter watch`: what happens after release."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from charter.cli import incidents
from charter.errors import UserError

app = typer.Typer(
    help="Watch what a guard lets through after release.\n\n"
    "Example: charter watch replay --reference week1.jsonl --stream today.jsonl --out alarms.jsonl",
    no_args_is_help=True,
)


@app.command()
def replay(
    reference: Annotated[str, typer.Option("--reference", help="JSONL of `guard score --keep-text`: what is normal.")],
    stream: Annotated[str, typer.Option("--stream", help="JSONL of the same form, in order; - is standard input.")],
    target: Annotated[str, typer.Option("--out", help="JSONL of alarms, whole or not at all; - is standard output.")],
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Chance of any alarm in the whole replay if nothing changed.")
    ] = 0.05,
    window: Annotated[int, typer.Option(min=20, max=2000, help="Rows of a drift window.")] = 200,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Of the score; the guard stops from here on.")] = 0.5,
    delta: Annotated[float, typer.Option(min=0.001, max=0.5, help="How near to the threshold counts as near.")] = 0.1,
    embed: Annotated[
        Literal["both", "prompts", "none"], typer.Option(help="Texts that are compared by their embeddings.")
    ] = "both",
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations.")] = 0,
) -> None:
    """Run every detector over a stream, against a frozen reference; one row an alarm.

    Drift windows, streaming detectors and bursts share one false-alarm rate, --alpha, for the whole replay. What could
    not be computed is said on stderr.

    Example: charter watch replay --reference week1.jsonl --stream today.jsonl --out alarms.jsonl
    """
    from charter.cli.rows import check_writable, read_rows, write_rows
    from charter.progress import Bar
    from charter.watch.embedded import embed_sides
    from charter.watch.replay import Settings
    from charter.watch.replay import replay as run
    from charter.watch.traffic import traffic_of

    sides = (traffic_of(read_rows(reference)), traffic_of(read_rows(stream)))
    check_writable(target)
    settings = Settings(alpha, window, threshold, delta, seed)
    texts = len({text for side in sides for text in (*side.prompts, *side.completions) if text})
    with Bar("embedding", texts, "texts") as bar:
        embedded, unembedded = embed_sides(sides, embed, lambda done, _total: bar.update(done))
    parts = {"drift": len(sides[1]), "streams": len(sides[1]), "bursts": len(sides[1])}
    done = dict.fromkeys(parts, 0.0)
    with Bar("replay", sum(parts.values()), "rows") as bar:

        def show(what: str, finished: int, total: int) -> None:
            done[what] = parts[what] * finished / total
            bar.update(int(sum(done.values())), what)

        alarms, notes = run(*sides, embedded, settings, show)
        bar.update(sum(parts.values()))
    write_rows(target, [alarm.as_row() for alarm in alarms])
    for note in (*unembedded, *notes):
        print(f"note: {note}", file=sys.stderr)
    kinds = sorted({alarm.kind for alarm in alarms})
    found = ", ".join(f"{sum(a.kind == kind for a in alarms)} {kind}" for kind in kinds) or "none"
    said = f"{len(alarms)} alarms over {len(sides[1])} rows ({found})."
    print(f"{said} If nothing changed, any alarm at all has a chance of at most {alpha:g}.", file=sys.stderr)


@app.command()
def canary(
    model: Annotated[str, typer.Option("--model", help="The live model: a folder, org/name, openai:http://…#name.")],
    reference: Annotated[Path, typer.Option("--reference", help="Inspect logs of the model as it was accepted.")],
    target: Annotated[str, typer.Option("--out", help="JSONL of alarms; - is standard output.")],
    suites: Annotated[
        str | None, typer.Option(help="Of the reference's suites, comma-separated; all by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples a suite, as the reference was run.")] = None,
    log_dir: Annotated[Path, typer.Option(help="Each round gets a folder of its own here.")] = Path("runs/canary"),
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Chance of any alarm in the round if nothing changed.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Ask the live model a frozen suite again and compare it, sample by sample, with the reference's answers.

    Exit code 0 whether or not there are alarms; 4 where the model does not answer.

    Example: charter watch canary --model openai:http://localhost:8000/v1#m --reference runs/accepted --out alarms.jsonl
    """
    from charter.cli.rows import check_writable, write_rows
    from charter.watch.canary import run_canaries

    if not reference.exists():
        raise UserError(f"{reference}: no such file or folder. Give Inspect logs, as `charter eval` writes them.")
    check_writable(target)
    wanted = [name.strip() for name in suites.split(",") if name.strip()] if suites else []
    alarms, measured, notes = run_canaries(model, reference, log_dir, wanted, limit, seed, alpha)
    write_rows(target, alarms)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for row in measured:
        interval = f"{row.ci_low:+.3f} to {row.ci_high:+.3f}"
        print(f"{row.suite}/{row.metric}: n={row.n}, change {row.delta:+.3f} ({interval}).", file=sys.stderr)
    print(f"{len(alarms)} alarms.", file=sys.stderr)


app.command("record")(incidents.record)
app.command("open")(incidents.open_)
app.command("incidents")(incidents.list_)
app.command("move")(incidents.move)
app.command("report")(incidents.report)
app.command("forget")(incidents.forget)
