"""charter finetune: a task's rows, without losing what alignment put there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def finetune(
    model: Annotated[str, typer.Option(help="The aligned model to fine-tune, by its one-string name.")],
    data: Annotated[str, typer.Option(help="The task's rows: any shape of docs/data.md with answers to imitate.")],
    out: Annotated[Path, typer.Option(help="Run folder; the result is OUT/model.")],
    protect: Annotated[
        str,
        typer.Option(metavar="METHOD", help="none, mix, kl, first-tokens, safe-lora, resta or realign."),
    ] = "mix",
    unaligned: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model before its alignment: for safe-lora and resta.")
    ] = None,
    safety: Annotated[
        str | None, typer.Option(metavar="FILE", help="Safety rows for mix and realign, in place of the built-in ones.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with `sft:` and `protect:`; every key is checked.")] = None,
) -> None:
    """Fine-tune a model on a task and protect its alignment; check with `charter regress` what it kept.

    Example: charter finetune --model runs/demo/model --data task.jsonl --out runs/task --protect mix
    """
    from charter.recipes.finetune import check_request, read_rows, read_settings
    from charter.recipes.finetune import finetune as run

    check_request(protect, unaligned, safety is not None)
    settings = read_settings(config)
    rows = read_rows(data)
    kept = read_rows(safety) if safety is not None else []
    done = run(model, rows, out, protect, settings, safety=kept, unaligned=unaligned)  # type: ignore[arg-type]
    typer.echo(f"Trained on {done.task_rows} rows of the task and {done.safety_rows} of safety: {done.model}")
    for reason, count in done.dropped.items():
        typer.echo(f"  dropped {count}: {reason}")
    if "projected" in done.detail:
        typer.echo(f"  projected {len(done.detail['projected'])} of {len(done.detail['similarity'])} layers")
    typer.echo(f"What did it keep? charter regress {model} {done.model}")
