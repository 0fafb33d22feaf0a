"""`charter generate`: prompts in, completions out, one JSON object a line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from charter.cli.rows import check_writable, read_rows, write_rows
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
    from charter.records import Completion, Sampling, conversation_of

    if not 0 < top_p <= 1:
        raise UserError(f"--top-p is {top_p}: it must be above 0 and at most 1.")
    rows = read_rows(source)
    prompts = [conversation_of(row, where) for where, row in rows]
    check_writable(target)
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
    write_rows(target, out)
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
