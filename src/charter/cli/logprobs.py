"""charter logprobs: how likely a model finds given completions."""

from __future__ import annotations

from typing import Annotated

import typer

from charter.cli.rows import check_writable, completion_of, read_rows, write_rows
from charter.errors import UserError


def logprobs(
    model: Annotated[str, typer.Option("--model", help="smollm2, a folder, an adapter folder or a hub id.")],
    source: Annotated[str, typer.Option("--in", help="JSONL with id, prompt or messages, completion; - is stdin.")],
    target: Annotated[str, typer.Option("--out", help="JSONL to write, whole or not at all; - is standard output.")],
) -> None:
    """Log-probabilities of completions (nats), the end-of-turn token included: it is what the model has to produce.

    Adds logprob (the sum), tokens (ids) and token_logprobs; a row that does not fit the context is unscored.

    Example: charter logprobs --model smollm2 --in answers.jsonl --out scored.jsonl
    """
    from charter.models.loading import load_model
    from charter.models.names import is_endpoint
    from charter.models.template import chat_format
    from charter.progress import Bar
    from charter.records import conversation_of
    from charter.training.logprobs import CompletionLogprobs, token_logprobs

    if is_endpoint(model):
        raise UserError("Log-probs of given completions need the weights; an endpoint does not give them.")
    rows = read_rows(source)
    asked = [(conversation_of(row, where), completion_of(row, where)) for where, row in rows]
    check_writable(target)
    local = load_model(model)
    format_ = chat_format(local.tokenizer)
    longest = getattr(local.model.config, "max_position_embeddings", None) or 10**9
    pairs = [(format_.prompt_ids(prompt), format_.completion_ids(prompt, text)) for prompt, text in asked]
    fits = [len(prompt) + len(completion) <= longest for prompt, completion in pairs]
    with Bar("logprobs", sum(fits), "rows") as bar:
        scorable = [pair for pair, good in zip(pairs, fits, strict=True) if good]
        found = iter(token_logprobs(CompletionLogprobs(local.model), scorable, bar.update))
        out = []
        for (_, row), (_, tokens), good in zip(rows, pairs, fits, strict=True):
            if not good:
                out.append({**row, "unscored": f"longer than the model's context of {longest} tokens"})
                continue
            values = next(found)
            out.append({**row, "logprob": sum(values), "tokens": list(tokens), "token_logprobs": values})
    write_rows(target, out)
