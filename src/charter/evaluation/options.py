"""Log-probs of given options: every distinct question of a suite in one packed pass, each prompt computed once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from charter.errors import UserError
from charter.evaluation.suites.choices import Ask

if TYPE_CHECKING:
    from charter.models.loading import LocalModel
    from charter.models.template import ChatFormat
    from charter.training.layout import Group

Logps = tuple[float, ...]
_QUIET_SECONDS = 0.25
"""How long nothing must arrive before what has arrived is scored: all samples of a suite ask at once."""


def option_logprobs(
    local: LocalModel, asks: Sequence[Ask], progress: Callable[[int], object] = lambda _: None
) -> list[Logps | str]:
    """Per ask, the summed log-probs (nats) of its options, or why it has none (longer than the model's context).

    Equal asks are computed once. `progress` hears how many distinct ones are done.
    """
    from charter.models.template import chat_format
    from charter.training.logprobs import CompletionLogprobs
    from charter.training.scoring import ROW_TOKENS, logprob_sums

    format_ = chat_format(local.tokenizer)
    longest = getattr(local.model.config, "max_position_embeddings", None) or 10**9
    distinct = {ask: _group(str(i), ask, format_, longest) for i, ask in enumerate(dict.fromkeys(asks))}
    groups = [group for group in distinct.values() if not isinstance(group, str)]
    sums = logprob_sums(CompletionLogprobs(local.model), groups, ROW_TOKENS, progress) if groups else {}
    found: dict[Ask, Logps | str] = {
        ask: group if isinstance(group, str) else tuple(sums[group.key].tolist()) for ask, group in distinct.items()
    }
    return [found[ask] for ask in asks]


def _group(key: str, ask: Ask, format_: ChatFormat, longest: int) -> Group | str:
    from charter.training.layout import Group

    try:
        prompt = format_.prompt_ids(ask.prompt)
        options = tuple(format_.completion_ids(ask.prompt, text, finished=ask.finished) for text in ask.options)
    except UserError as error:
        return str(error)
    needed = len(prompt) + max(map(len, options))
    if needed > longest:
        return f"the question takes {needed} tokens, the model's context is {longest}"
    return Group(key, prompt, options)


class OptionWorker:
    """One thread that gathers the questions of many samples and scores them together.

    It uses the model that it is given: nothing else may run on that model until the futures are done.
    """

    def __init__(self, local: LocalModel) -> None:
        self._local = local
        self._queue: queue.Queue[tuple[list[Ask], Future[list[Logps | str]]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="charter-options", daemon=True)
        self._thread.start()

    def submit(self, asks: Sequence[Ask]) -> Future[list[Logps | str]]:
        """The log-probs of one sample's questions, later."""
        future: Future[list[Logps | str]] = Future()
        self._queue.put((list(asks), future))
        return future

    def close(self) -> None:
        """Answer what was submitted, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        item = self._queue.get()
        while item is not None:
            batch = []
            while item is not None:
                if item[1].set_running_or_notify_cancel():
                    batch.append(item)
                try:
                    item = self._queue.get(timeout=_QUIET_SECONDS)
                except queue.Empty:
                    break
            self._answer(batch)
            if item is not None:
                item = self._queue.get()

    def _answer(self, batch: Sequence[tuple[list[Ask], Future[list[Logps | str]]]]) -> None:
        try:
            found = iter(option_logprobs(self._local, [ask for asks, _ in batch for ask in asks]))
            for asks, future in batch:
                future.set_result([next(found) for _ in asks])
        except BaseException as error:  # the waiting side must hear of it, whatever it is
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
