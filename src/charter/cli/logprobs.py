"""charter logprobs: how likely a model finds given completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.rows import check_writable, completion_of, read_rows, write_rows
from charter.errors import UserError

if TYPE_CHECKING:
    from charter.models.template import ChatFormat
    from charter.records import Conversation


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
    from charter.training.logprobs import CompletionLogprobs
    from charter.training.scoring import token_logprobs

    if is_endpoint(model):
        raise UserError("Log-probs of given completions need the weights; an endpoint does not give them.")
    rows = read_rows(source)
    asked = [(conversation_of(row, where), completion_of(row, where)) for where, row in rows]
    check_writable(target)
    local = load_model(model)
    format_ = chat_format(local.tokenizer)
    longest = getattr(local.model.config, "max_position_embeddings", None) or 10**9
    pairs = [_ids(format_, prompt, text, longest) for prompt, text in asked]
    scorable = [pair for pair in pairs if not isinstance(pair, str)]
    with Bar("logprobs", len(scorable), "rows") as bar:
        found = iter(token_logprobs(CompletionLogprobs(local.model), scorable, bar.update))
        out = []
        for (_, row), pair in zip(rows, pairs, strict=True):
            if isinstance(pair, str):
                out.append({**row, "unscored": pair})
                continue
            values = next(found)
            out.append({**row, "logprob": sum(values), "tokens": list(pair[1]), "token_logprobs": values})
    write_rows(target, out)


def _ids(
    format_: ChatFormat, prompt: Conversation, completion: str, longest: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | str:
    """Token ids of prompt and completion, or why the row cannot be scored."""
    try:
        ids = format_.prompt_ids(prompt), format_.completion_ids(prompt, completion)
    except UserError as error:
        return str(error)
    if len(ids[0]) + len(ids[1]) > longest:
        return f"longer than the model's context of {longest} tokens"
    return ids
