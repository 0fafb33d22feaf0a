"""The stack: verdicts, deadlines, failures, order and scores, with small layers of the tests' own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.guard.stack import Place, Stack
from charter.guard.subject import Subject
from charter.guard.verdicts import (
    STOP_AT,
    STOPS,
    Finding,
    LayerRecord,
    Span,
    Verdict,
    combined_score,
    redacted,
)  # fmt: skip
from charter.records import Message


@dataclass
class Says:
    """Always finds the same."""

    name: str
    found: Finding = field(default_factory=lambda: Finding(score=0.0))

    def check(self, _: Subject) -> Finding:
        return self.found


@dataclass
class Breaks:
    name: str = "broken"

    def check(self, _: Subject) -> Finding:
        raise RuntimeError("no database")


@dataclass
class Hangs:
    name: str = "hanging"
    release: threading.Event = field(default_factory=threading.Event)

    def check(self, _: Subject) -> Finding:
        self.release.wait(30)
        return Finding(score=0.0)


def test_the_worst_verdict_wins_and_every_layer_is_on_record() -> None:
    block = Finding("block", 0.9, ("harm",), (Span(0, 2, "harm"),))
    redact = Finding("redact", 0.2, ("pii",), (Span(3, 5, "EMAIL_ADDRESS"),))
    stack = Stack([Place(Says("a", redact)), Place(Says("b", block)), Place(Says("c"))], [])
    found = stack.check_input("ab cd")
    assert found.verdict == "block"
    assert found.stopped
    assert found.text is None
    assert found.clauses == ("pii", "harm")
    assert [span.kind for span in found.spans] == ["harm", "EMAIL_ADDRESS"]
    assert [(layer.name, layer.status) for layer in found.layers] == [("a", "ran"), ("b", "ran"), ("c", "ran")]


def test_a_redacted_text_goes_on_without_its_spans() -> None:
    found = Stack([Place(Says("pii", Finding("redact", 0.5, (), (Span(2, 6, "X"),))))], []).check_input("é🙂abcd!")
    assert (found.verdict, found.text, found.stopped) == ("redact", "é🙂[X]!", False)
    assert found.score < STOP_AT


@pytest.mark.parametrize(("rule", "verdict", "text"), [("closed", "error", None), ("open", "allow", "hello")])
def test_a_layer_that_raises_follows_its_rule_and_the_others_still_run(rule, verdict, text) -> None:  # type: ignore[no-untyped-def]
    stack = Stack([Place(Breaks(), on_error=rule), Place(Says("other"))], [])
    found = stack.check_input("hello")
    assert (found.verdict, found.text) == (verdict, text)
    broken, other = found.layers
    assert (broken.status, other.status) == ("failed", "ran")
    assert "no database" in broken.finding.reason
    assert (found.score == 1.0) == (verdict == "error")


def test_a_layer_that_hangs_costs_its_deadline_and_nothing_more() -> None:
    hanging = Hangs()
    stack = Stack([Place(hanging, deadline=0.1), Place(Says("other"))], [])
    try:
        for _ in range(6):  # more calls than the layer has threads: its queue must not hold up the rest
            begun = time.perf_counter()
            found = stack.check_input("hello")
            assert time.perf_counter() - begun < 5
            assert found.verdict == "error"
            assert [layer.status for layer in found.layers] == ["failed", "ran"]
    finally:
        hanging.release.set()


def test_a_stop_skips_later_stages_and_says_why() -> None:
    stack = Stack([Place(Says("costly"), stage=2), Place(Says("cheap", Finding("block", 1.0)), stage=1)], [])
    costly, cheap = stack.check_input("x").layers
    assert (cheap.status, costly.status) == ("ran", "skipped")
    assert "cheap" in costly.finding.reason


def test_layers_of_a_stage_run_side_by_side() -> None:
    meet = threading.Barrier(2, timeout=10)

    class Meets(Says):
        def check(self, _: Subject) -> Finding:
            meet.wait()
            return Finding(score=0.0)

    found = Stack([Place(Meets("a")), Place(Meets("b"))], []).check_input("x")
    assert [layer.status for layer in found.layers] == ["ran", "ran"]


def test_many_callers_get_their_own_answers() -> None:
    class Length(Says):
        def check(self, subject: Subject) -> Finding:
            return Finding(score=len(subject.text) / 1000)

    stack, answers = Stack([Place(Length("length"))], []), {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: stack.check_input("x" * n).score})) for n in range(1, 30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: pytest.approx(n / 1000) for n in range(1, 30)}


def test_the_last_user_message_is_checked_and_tool_results_are_untrusted() -> None:
    seen: list[Subject] = []

    class Looks(Says):
        def check(self, subject: Subject) -> Finding:
            seen.append(subject)
            return Finding(score=0.0)

    talk = (Message("system", "be kind"), Message("user", "one"), Message("tool", "result"), Message("user", "two"))
    stack = Stack([Place(Looks("in"))], [Place(Looks("out"))])
    stack.check_input(talk, context="page")
    stack.check_output(talk, "said")
    assert (seen[0].text, seen[0].untrusted, seen[0].system) == ("two", "result\n\npage", "be kind")
    assert (seen[1].text, seen[1].asked, seen[1].side) == ("said", "two", "output")


def test_names_must_differ_and_deadlines_be_positive() -> None:
    with pytest.raises(ValueError, match="share a name"):
        Stack([Place(Says("a")), Place(Says("a"))], [])
    with pytest.raises(ValueError, match="deadline"):
        Stack([Place(Says("a"), deadline=0)], [])


scores = st.floats(0, 1)
verdicts: st.SearchStrategy[Verdict] = st.sampled_from(["allow", "redact", "block", "escalate", "error"])


@given(st.lists(st.tuples(verdicts, st.none() | scores), min_size=1, max_size=6))
def test_the_score_is_on_the_stop_side_exactly_when_the_verdict_stops(
    found: list[tuple[Verdict, float | None]],
) -> None:
    records = tuple(LayerRecord(str(i), "ran", Finding(v, s), 0.0) for i, (v, s) in enumerate(found))
    score = combined_score(records)
    assert 0 <= score <= 1
    assert (score >= STOP_AT) == any(verdict in STOPS for verdict, _ in found)


@given(st.lists(st.floats(0, 0.49), min_size=2, max_size=5), st.floats(0.001, 0.4))
def test_the_score_rises_with_the_highest_layer(low: list[float], more: float) -> None:
    def of(values: list[float]) -> float:
        return combined_score(tuple(LayerRecord(str(i), "ran", Finding(score=v), 0.0) for i, v in enumerate(values)))

    top = max(low)
    raised = [min(value + more, 0.4999) if value == top else value for value in low]
    assert of(raised) >= of(low)


def test_overlapping_spans_become_one_named_by_the_longest() -> None:
    assert redacted("abcdefgh", (Span(1, 4, "LONG"), Span(3, 5, "B"), Span(6, 7, "C"))) == "a[LONG]f[C]h"
