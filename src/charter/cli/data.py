"""charter data inspect: what a data file is, and what training would make of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from charter.errors import UserError

if TYPE_CHECKING:
    from charter.recipes.inspect_data import Inspection
    from charter.recipes.lengths import Lengths

_BAR = 32
_EXAMPLE = 600
_EXAMPLE_COMMAND = "charter data inspect pairs.jsonl --max-tokens 512"

app = typer.Typer(help="Look at training data.", epilog=f"Example: {_EXAMPLE_COMMAND}", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """A group, though it has one command yet."""


@app.command(epilog=f"Example: {_EXAMPLE_COMMAND}")
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL, JSON, Parquet, CSV, a folder or a hub id.")],
    model: Annotated[
        str, typer.Option(help="Whose tokenizer and template to use; weights are not loaded.")
    ] = "smollm2",
    max_tokens: Annotated[int, typer.Option(min=2, help="Budget: longer examples would be dropped.")] = 1024,
    suites: Annotated[
        str | None, typer.Option(metavar="A,B", help="Suites to look for overlap with. All shipped when left out.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a folder or hub dataset.")] = "train",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what a file is, how long its texts are, what repeats, what is also measured, and what would be dropped."""
    from charter.evaluation import suite_names
    from charter.recipes.inspect_data import inspect_data

    known = list(suite_names())
    wanted = known if suites is None else [name.strip() for name in suites.split(",") if name.strip()]
    if not wanted:
        raise UserError(f"--suites is empty. Give at least one of: {', '.join(known)}.")
    found = inspect_data(file, model, max_tokens, wanted, split)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)


def _print(found: Inspection) -> None:
    say = typer.echo
    say(f"{found.source}: {found.format}{f' ({found.style})' if found.style else ''}, {found.rows} rows")
    say(f"\nTraining with at most {found.max_tokens} tokens ({found.model}) could use")
    for kind, use in found.records.items():
        say(f"  {use.usable} of {use.records} as {kind}")
        for reason, count in use.dropped.items():
            say(f"      dropped {count}: {reason}")
    if not found.records:
        say("  nothing")
    for name, lengths in found.lengths.items():
        _print_lengths("prompt and completions" if name == "row" else name, lengths)
    if bias := found.length_bias:
        say(
            f"\nLength bias: the chosen side is longer in {bias.chosen_longer:.0%} of {bias.n} pairs "
            f"({bias.ci_low:.0%} to {bias.ci_high:.0%}); medians {bias.median_chosen:g} and {bias.median_rejected:g} "
            "tokens"
        )
    repeated = found.duplicates
    say(
        f"\nDuplicates: {repeated.exact_rows} rows repeat another word for word, {repeated.near_rows} nearly "
        f"(of the first {repeated.searched} distinct); {repeated.prompts} prompts, {repeated.rows_sharing_a_prompt} "
        "rows share theirs"
    )
    say("\nOverlap: rows whose question is a near-duplicate of a measured one")
    for suite, overlap in found.overlaps.items():
        named = f" (first: {', '.join(overlap.first)})" if overlap.rows else ""
        say(f"  {overlap.rows:6} {suite}{named}")
    if found.weights:
        counts = ", ".join(f"{count} of {weight}" for weight, count in found.weights.turns.items())
        say(f"\nWeights: {found.weights.rows} rows have some; turns by weight: {counts} (0 is context only)")
    for note in found.notes:
        say(f"\n{note}")
    for name, text in (found.example or {}).items():
        more = f" … ({len(text) - _EXAMPLE} more characters)" if len(text) > _EXAMPLE else ""
        say(f"\nFirst example, {name}:\n{text[:_EXAMPLE]}{more}")


def _print_lengths(name: str, lengths: Lengths) -> None:
    typer.echo(
        f"\nTokens, {name}: median {lengths.median:g}, mean {lengths.mean:.0f}, 95% {lengths.p95}, "
        f"{lengths.min} to {lengths.max}"
    )
    most = max(bin_.count for bin_ in lengths.histogram)
    for bin_ in lengths.histogram:
        typer.echo(f"  {bin_.low:>6}-{bin_.high:<6} {bin_.count:>7} {'#' * round(_BAR * bin_.count / most)}")
