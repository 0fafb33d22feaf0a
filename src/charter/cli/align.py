"""charter align: a recipe, from baseline to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def align(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe.yaml to run.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<name> when left out.")] = None,
) -> None:
    """Align a model to its charter and measure it: baseline, data, training, evaluation, gate, report.

    Run the same command again after a kill: finished stages are kept, a training stage goes on from its checkpoint.
    Under torchrun, training is shared by all its processes (docs/many-devices.md).
    Exit code: 0 the gate passed, 1 regressed, 3 inconclusive.

    Example: charter align examples/demo/recipe.yaml
    """
    from charter.recipes.pipeline import align as run

    done = run(recipe, out)
    if done is None:
        return  # this process has only helped to train
    folder, verdict = done
    typer.echo(f"{verdict.verdict}: {verdict.reason}")
    for decision in verdict.decisions:
        typer.echo(f"  {decision.verdict:<12} {decision.metric}: {decision.reason}")
    typer.echo(f"Report: {folder / 'report.html'}")
    raise typer.Exit(verdict.exit_code())
