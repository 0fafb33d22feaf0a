"""Many searches at once: their queries share the model's batches, whatever attack they come from.

Searches that need the weights compute on them between queries, so they run after the others, one at a time.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from charter.errors import UserError
from charter.ports import Judge
from charter.records import Completion, Exchange
from charter.redteam.journal import Journal, filed, key_of
from charter.redteam.outcomes import Outcome
from charter.redteam.parties import Party
from charter.redteam.protocol import Answer, Attack, Behaviour, NotPossible, Query, Search, Setting
from charter.redteam.scoring import judged

WINDOW = 256
"""Queries in flight: enough to fill the batches, few enough that a stop is soon obeyed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: generated tokens of the target (asked in this run), seconds. None is no limit."""

    tokens: int | None = None
    seconds: float | None = None


@dataclass(slots=True, eq=False)
class _Running:
    """A search under way: the queries of its last round and the answers that are there."""

    outcome: Outcome
    search: Search
    round: list[Query] = field(default_factory=list)
    answers: list[Answer | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Came:
    """An answer that has come: to which search, and as which of its round."""

    running: _Running
    index: int
    completion: Completion
    seconds: float
    tokens: int
    key: str | None = None
    """Where to file it; None for one that is filed."""


class Sweep:
    """Runs attacks on behaviours. `asked`, `replayed` and `tokens` count queries and generated tokens.

    helper_judge: tells when an attacker model refuses to attack. window: most queries in flight.
    """

    def __init__(
        self,
        parties: Mapping[str, Party],
        judge: Judge,
        setting: Setting,
        journal: Journal,
        limits: Limits = Limits(),
        progress: Callable[[int, int, str], None] | None = None,
        *,
        helper_judge: Judge | None = None,
        window: int = WINDOW,
    ) -> None:
        self._parties, self._judge, self._journal, self._limits = parties, judge, journal, limits
        self._setting, self._helper_judge, self._window = setting, helper_judge, window
        self._progress = progress or (lambda *_: None)
        self._ready: queue.SimpleQueue[_Came] = queue.SimpleQueue()
        self._backlog: deque[tuple[_Running, int]] = deque()
        self._flying = 0
        self.asked = self.replayed = self.tokens = 0
        self.stopped: str | None = None

    def run(self, attacks: Sequence[Attack], behaviours: Sequence[Behaviour]) -> list[Outcome]:
        """One outcome for each attack and behaviour, attack by attack."""
        begun = time.monotonic()
        pairs = list(itertools.product(attacks, behaviours))
        outcomes = [Outcome(behaviour, attack.spec) for attack, behaviour in pairs]
        waiting = deque(sorted(zip(pairs, outcomes, strict=True), key=lambda item: "weights" in item[0][0].spec.needs))
        live: set[_Running] = set()
        while waiting or live:
            self._check_limits(begun)
            while waiting and not self.stopped and self._has_room(waiting[0][0][0], live):
                (attack, behaviour), outcome = waiting.popleft()
                running = self._start(attack, behaviour, outcome)
                if running is not None:
                    live.add(running)
                    self._advance(running, None, live)
            self._send()
            if self.stopped and not self._flying and self._ready.empty():
                break
            if live or self._flying:
                self._take(live)
            done = len(outcomes) - len(waiting) - len(live)
            hits = sum(outcome.success is True for outcome in outcomes)
            self._progress(done, len(outcomes), f"{hits} got through")
        if self.stopped:
            for outcome in [outcome for _, outcome in waiting] + [running.outcome for running in live]:
                if not outcome.success:
                    outcome.stopped = self.stopped
        return outcomes

    def _has_room(self, attack: Attack, live: set[_Running]) -> bool:
        if "weights" in attack.spec.needs:
            return not live
        return len(live) < self._window

    def _check_limits(self, begun: float) -> None:
        if self.stopped:
            return
        if self._limits.tokens is not None and self.tokens >= self._limits.tokens:
            self.stopped = f"not finished: the budget of {self._limits.tokens} tokens was spent"
        elif self._limits.seconds is not None and time.monotonic() - begun >= self._limits.seconds:
            self.stopped = f"not finished: the budget of {self._limits.seconds:g} seconds was spent"

    def _start(self, attack: Attack, behaviour: Behaviour, outcome: Outcome) -> _Running | None:
        lacking = self._lacks(attack)
        if lacking:
            outcome.reason = f"{attack.spec.name}: {lacking}"
            return None
        return _Running(outcome, attack.search(behaviour, self._setting))

    def _lacks(self, attack: Attack) -> str | None:
        for need in attack.spec.needs:
            if need in ("weights", "prefill") and self._setting.local is None:
                what = "weights and log-probabilities" if need == "weights" else "to begin the model's answer itself"
                return f"it needs {what}, and {self._parties['target'].name} is an endpoint. Name a local model."
            if need == "attacker" and not self._setting.attacker:
                return "it needs an attacker model. Name one with --attacker."
        return None

    def _advance(self, running: _Running, answers: list[Answer] | None, live: set[_Running]) -> None:
        """Give the search its answers and queue what it asks next; what a search raises ends that search only."""
        if "weights" in running.outcome.spec.needs:
            self._parties["target"].quiet()
        try:
            running.round = next(running.search) if answers is None else running.search.send(answers)
            while not running.round:
                running.round = running.search.send([])
        except StopIteration:
            live.discard(running)
            return
        except NotPossible as reason:
            running.outcome.reason = str(reason)
            live.discard(running)
            return
        except UserError as error:
            running.outcome.reason = str(error)
            live.discard(running)
            return
        running.answers = [None] * len(running.round)
        self._backlog.extend((running, index) for index in range(len(running.round)))

    def _send(self) -> None:
        while self._backlog and self._flying < self._window and not self.stopped:
            running, index = self._backlog.popleft()
            query = running.round[index]
            party = self._parties[query.to]
            key = key_of(party.identity, query)
            known = self._journal.get(key)
            if known is not None:
                self.replayed += query.to == "target"
                completion = Completion(known["text"], finish=known["finish"])
                self._ready.put(_Came(running, index, completion, known["seconds"], known["tokens"]))
                self._flying += 1
                continue
            self._flying += 1
            self._ask(running, index, query, party, key)

    def _ask(self, running: _Running, index: int, query: Query, party: Party, key: str) -> None:
        begun = time.monotonic()
        self.asked += query.to == "target"

        def came(future: Future[list[Completion]]) -> None:
            if future.cancelled():  # the run is ending
                return
            error = future.exception()
            completion = Completion("", finish="error", error=f"{error}") if error is not None else future.result()[0]
            seconds = round(time.monotonic() - begun, 3)
            self._ready.put(_Came(running, index, completion, seconds, tokens_of(completion), key))

        party.submit(query).add_done_callback(came)

    def _take(self, live: set[_Running]) -> None:
        """Wait for answers, judge all that are there together, and let their searches go on."""
        batch = [self._ready.get()]
        while not self._ready.empty():
            batch.append(self._ready.get())
        self._flying -= len(batch)
        for one in batch:
            if one.key is not None and one.completion.finish != "error":
                self._journal.put(one.key, filed(one.completion, one.seconds, one.tokens))
        ours = [one for one in batch if one.running.round[one.index].to == "target"]
        words = iter(judged(self._judge, [(one.running.outcome.behaviour, one.completion) for one in ours]))
        full: dict[int, _Running] = {}
        for one in batch:
            running, query = one.running, one.running.round[one.index]
            if query.to == "target":
                answer = next(words)
                running.outcome.add(query, answer, one.seconds, one.tokens)
                self.tokens += one.tokens if one.key is not None else 0
            else:
                answer = self._helped(query, one.completion)
                running.outcome.refusals += answer.refused
            running.answers[one.index] = answer
            if all(known is not None for known in running.answers):
                full[id(running)] = running
        for running in full.values():
            self._advance(running, [answer for answer in running.answers if answer is not None], live)

    def _helped(self, query: Query, completion: Completion) -> Answer:
        """A helper's answer; an attacker's with whether it refused."""
        if query.to != "attacker" or self._helper_judge is None or not completion.text.strip():
            return Answer(completion)
        (score,) = self._helper_judge.score([Exchange("helper", query.prompt, completion.text)])
        return Answer(completion, label=score.label, refused=score.label == "full")


def tokens_of(completion: Completion) -> int:
    """Generated tokens; of an endpoint, which hides them, about one for every four characters."""
    return len(completion.tokens) or -(-len(completion.text) // 4)
