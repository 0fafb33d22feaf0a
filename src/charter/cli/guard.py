"""`charter guard score` and `charter guard train`: the guard's stack over files, and heads for a charter's clauses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.rows import check_writable, read_rows, write_rows
from charter.errors import UserError, nearest

app = typer.Typer(
    help="Check prompts and completions with the guard, or train its heads for a charter.",
    epilog="Example: charter guard score --side input --in prompts.jsonl --out verdicts.jsonl",
    no_args_is_help=True,
)
_SIDES = ("input", "output")
_DEADLINE_SECONDS = 120.0
"""Nobody waits for a row of a file: a busy machine must not turn it into an error."""


@app.command(epilog="Example: charter guard score --side input --in prompts.jsonl --out verdicts.jsonl")
def score(
    side: Annotated[str, typer.Option("--side", help="input: what a model is given; output: what it said.")],
    source: Annotated[
        str, typer.Option("--in", help="JSONL with id, prompt or messages, completion, context; - is standard input.")
    ],
    out: Annotated[str, typer.Option("--out", help="Where to write the verdicts; - writes standard output.")] = "-",
    charter: Annotated[
        Path | None, typer.Option("--charter", help="Also its clauses: scope, high stakes, language coverage.")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option("--heads", help="Folder of `charter guard train`; needs --charter.")
    ] = None,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Also write prompt, messages, completion and context.")
    ] = False,
) -> None:
    """Check each row: adds time, verdict, score in [0, 1], clauses, spans and what every layer said."""
    if side not in _SIDES:
        raise UserError(f'--side is "{side}".{nearest(side, list(_SIDES))} Use input or output.')
    if heads and not charter:
        raise UserError("--heads needs --charter: the heads belong to the clauses of one charter.")
    rows = read_rows(source)
    check_writable(out)
    from charter.document import load_charter
    from charter.guard.build import baseline, heads_for
    from charter.guard.scoring import score_rows
    from charter.progress import Bar

    loaded = load_charter(charter) if charter else None
    stack = baseline(charter=loaded, heads=heads_for(loaded, heads) if loaded else (), deadline=_DEADLINE_SECONDS)
    with Bar("guard", len(rows), "rows") as bar:
        results = score_rows(stack, "input" if side == "input" else "output", rows, keep_text, bar.update)
    write_rows(out, results)
    _summary(results)


def _summary(results: list[dict[str, object]]) -> None:
    counts: dict[str, int] = {}
    for result in results:
        name = "unscored" if "unscored" in result else str(result["verdict"])
        counts[name] = counts.get(name, 0) + 1
    print("guard: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())), file=sys.stderr)


@app.command(epilog="Example: charter guard train --charter my.yaml --out guard/")
def train(
    charter: Annotated[Path, typer.Option("--charter", help="The charter whose clauses get heads.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write clauses.safetensors and clauses.json into.")],
    examples: Annotated[
        Path | None,
        typer.Option("--examples", help="JSONL with id, prompt and clauses: prompts that those clauses are about."),
    ] = None,
    fpr: Annotated[
        float, typer.Option("--fpr", help="Share of harmless prompts that a clause may stop; sets the thresholds.")
    ] = 0.02,
) -> None:
    """Train a small head for every clause whose guard lists classifier, scope or person, or that a person decides."""
    if not 0 < fpr < 0.5:
        raise UserError(f"--fpr is {fpr}: it must lie between 0 and 0.5.")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Give --out a folder.")
    from charter.document import load_charter
    from charter.guard.clause_heads import roles, save
    from charter.guard.clause_heads import train as fit
    from charter.guard.encoder import embed_texts, encoder

    loaded = load_charter(charter)
    if not any(roles(clause) for clause in loaded.clauses):
        raise UserError(
            f"{charter}: no clause asks for a head. Give a clause `guard: [classifier]` (scope, person) and topics."
        )
    given = _given(examples) if examples else {}
    trained, reports = fit(loaded, embed_texts, given, fpr)
    save(out, loaded, trained, reports, encoder().backend)
    for report in reports:
        typer.echo(
            f"{report.clause} ({report.role}): {report.examples} examples, {report.harmless} harmless; held out: "
            f"recall {report.recall:.2f} at {report.false_positives:.3f} false positives"
        )
    typer.echo(f"Use it with: charter guard score --charter {charter} --heads {out} --side input --in prompts.jsonl")


def _given(path: Path) -> dict[str, list[str]]:
    """Clause id to prompts, from the file's rows."""
    from charter.records import conversation_of

    found: dict[str, list[str]] = {}
    for where, row in read_rows(str(path)):
        clauses = row.get("clauses")
        if not isinstance(clauses, list) or not clauses or not all(isinstance(one, str) for one in clauses):
            raise UserError(f'{where}: needs "clauses", a list of clause ids that the prompt is about.')
        conversation = conversation_of(row, where)
        text = next((m.content for m in reversed(conversation) if m.role == "user"), conversation[-1].content)
        for clause in clauses:
            found.setdefault(clause, []).append(text)
    return found
