"""`charter watch`: what happens after release."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

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
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="The score's threshold; read off the reference if left out.")
    ] = None,
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
        embedded, unembedded = embed_sides(sides, embed, bar.update)
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
