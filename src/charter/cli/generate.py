"""`charter generate`: prompts in, completions out, one JSON object a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charter.errors import UserError


def generate(
    model: Annotated[
        str, typer.Option("--model", help="smollm2, a folder, a hub id, or openai:http://host:port/v1#name")
    ],
    source: Annotated[str, typer.Option("--in", help="JSONL with id and prompt or messages; - is standard input")],
    target: Annotated[str, typer.Option("--out", help="JSONL to write, whole or not at all; - is standard output")],
    max_tokens: Annotated[int, typer.Option(min=1, help="most tokens of a completion")] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy")] = 0.0,
    top_p: Annotated[float, typer.Option(help="nucleus, in (0, 1]")] = 1.0,
    n: Annotated[int, typer.Option("--n", min=1, help="completions a prompt")] = 1,
    seed: Annotated[int, typer.Option(help="of the random streams")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="a text that ends a completion; may be repeated")] = None,
) -> None:
    """Answer every prompt of a file.

    Example: charter generate --model smollm2 --in prompts.jsonl --out answers.jsonl --max-tokens 64
    """
    from charter.errors import Unfinished
    from charter.models.names import text_model
    from charter.progress import Bar
    from charter.records import Completion, Sampling, conversation_of, write_jsonl

    if not 0 < top_p <= 1:
        raise UserError(f"--top-p is {top_p}: it must be above 0 and at most 1.")
    rows = _rows(source)
    prompts = [conversation_of(row, where) for where, row in rows]
    if target != "-":
        _writable(Path(target))
    answerer = text_model(model)
    sampling = Sampling(max_tokens, temperature, top_p, n, seed, tuple(stop or ()))
    with Bar("generate", len(prompts) * n, "completions") as bar:
        answers = answerer.generate(prompts, sampling, lambda done, _: bar.update(done))
    out = []
    for (_, row), completions in zip(rows, answers, strict=True):
        out.append({**row, "completions": [_shape(one) for one in completions]})
        errors = [one.error for one in completions if one.finish == "error"]
        if errors:
            out[-1]["unscored"] = errors[0]
    if target == "-":
        import json

        for row in out:
            print(json.dumps(row, ensure_ascii=False))
    else:
        try:
            write_jsonl(Path(target), out)
        except OSError as error:
            raise Unfinished(
                f"{target}: could not be written ({error.strerror}). Free some space or choose another --out."
            ) from None
    failed: list[Completion] = [one for completions in answers for one in completions if one.finish == "error"]
    if failed:
        print(f"{len(failed)} of {len(prompts) * n} completions failed; the first: {failed[0].error}", file=sys.stderr)
        if len(failed) == len(prompts) * n:
            raise Unfinished(f"No completion could be had from {model}: {failed[0].error}")


def _shape(one: object) -> dict[str, object]:
    from charter.records import Completion

    assert isinstance(one, Completion)
    # Token ids, empty from an endpoint that hides them.
    shape: dict[str, object] = {
        "text": one.text,
        "tokens": list(one.tokens),
        "logprob": one.logprob,
        "finish": one.finish,
    }
    return shape | ({"error": one.error} if one.error else {})


def _rows(source: str) -> list[tuple[str, dict[str, object]]]:
    """(where, row) of every line. Raises UserError for a missing file, bad JSON, a row without id, or no rows."""
    from charter.records import read_jsonl

    path, name = (Path("/dev/stdin"), "standard input") if source == "-" else (Path(source), source)
    rows = [(f"{name}, line {number}", row) for number, row in read_jsonl(path)]
    if not rows:
        raise UserError(f"{name}: there are no rows. Give one JSON object a line, with id and prompt or messages.")
    for where, row in rows:
        if "id" not in row:
            raise UserError(f'{where}: needs an "id", so that the answer can be matched to it.')
    return rows


def _writable(path: Path) -> None:
    """Find out before the work, not after it."""
    import os

    if path.is_dir():
        raise UserError(f"{path} is a folder. Give --out a file name.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(parent, os.W_OK) or not parent.is_dir():
        raise UserError(f"{path}: {parent} cannot be written to. Choose another --out.")
