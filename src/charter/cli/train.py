"""charter train METHOD: one training method on one file, without a recipe around it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charter.errors import EXIT_REGRESSED
from charter.training.catalogue import CATALOGUE

app = typer.Typer(
    help="Train a model by one method on one file.",
    epilog="Example: charter train sft --model smollm2 --data pairs.jsonl --out runs/sft",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Option(help="Model to train, by its one-string name.")]
Data = Annotated[str, typer.Option(help="JSONL, JSON, Parquet or CSV in any shape of docs/data.md, or a hub id.")]
Out = Annotated[Path, typer.Option(help="Run folder; the result is OUT/model.")]
Config = Annotated[Path | None, typer.Option(help="YAML with the method's settings; every key is checked.")]
Track = Annotated[str | None, typer.Option(metavar="NAME", help="Also send metrics to wandb, mlflow or trackio.")]


def _command(name: str, summary: str) -> None:
    def command(model: Model, data: Data, out: Out, config: Config = None, track: Track = None) -> None:
        from charter.recipes.single import train_single
        from charter.recipes.watching import watch_result

        trained = train_single(name, model, data, out, config, track)
        typer.echo(f"Trained on {trained.rows} rows in {trained.result.steps} steps: {trained.model}")
        for reason, count in trained.dropped.items():
            typer.echo(f"  dropped {count}: {reason}")
        if (watch := watch_result(out)) is not None:
            typer.echo(f"Watch for reward hacking: {watch['verdict']}: {watch['reason']}")
            typer.echo(f"  weights kept: of step {watch['kept']}; looks: {out / 'watch.jsonl'}")
            if watch["verdict"] == "regressed":
                raise typer.Exit(EXIT_REGRESSED)

    example = f"charter train {name} --model smollm2 --data pairs.jsonl --out runs/{name}"
    app.command(name, help=f"{summary}\n\nExample: {example}")(command)


for _name, _entry in CATALOGUE.items():
    _command(_name, _entry.summary)
