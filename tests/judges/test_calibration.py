"""Agreement with people: kappa against statsmodels, unscored rows, and the shipped measurement."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from charter.judges.calibration import agreement, calibrate, calibration_from, judge_agreement
from charter.judges.strings import string_match
from charter.records import Exchange, Score, user_prompt
from charter.stats.imperfect import Errors


class _ByLength:
    """A real, if simple, judge: long completions are 'long'; those that mention 'skip' are unscored."""

    name = "length"
    labels = ("long", "short")

    def score(self, rows: Sequence[Exchange]) -> list[Score]:
        return [
            Score(row.id, self.name, unscored="asked to")
            if "skip" in row.completion
            else Score(row.id, self.name, label="long" if len(row.completion) > 5 else "short", score=0.5)
            for row in rows
        ]


def test_calibrate_counts_by_hand() -> None:
    texts = ["abcdefgh", "abc", "abcdefgh", "abc", "skip"]
    human = ["long", "short", "short", "short", "long"]
    rows = [Exchange(str(i), user_prompt("q"), text) for i, text in enumerate(texts)]
    found = calibrate(_ByLength(), rows, human)
    assert (found.n, found.unscored, found.labels) == (4, 1, ("long", "short"))
    assert found.confusion == ((1, 0), (1, 2))
    assert found.accuracy == 0.75
    # Agreement by chance: human 1/4 long, judge 2/4 long: 1/8 + 3/8 = 1/2; kappa = (3/4 - 1/2) / (1/2).
    assert found.kappa == pytest.approx(0.5)
    assert calibration_from(found.as_json()) == found
    with pytest.raises(ValueError, match="one human label"):
        calibrate(_ByLength(), rows, human[:-1])


def test_nothing_scored_gives_no_numbers() -> None:
    found = agreement("x", ["a", "b"], [None, None])
    assert (found.n, found.unscored, found.accuracy, found.kappa) == (0, 2, None, None)


def test_one_single_label_has_an_accuracy_but_no_kappa() -> None:
    found = agreement("x", ["a", "a"], ["a", "a"])
    assert (found.accuracy, found.kappa, found.kappa_low) == (1.0, None, None)


def test_the_shipped_measurement_is_consistent() -> None:
    found = judge_agreement("refusal")
    assert found is not None
    assert found.n == sum(map(sum, found.confusion)) > 1000
    assert found.accuracy == pytest.approx(sum(found.confusion[i][i] for i in range(3)) / found.n)
    assert found.kappa is not None
    assert found.kappa_low is not None
    assert found.kappa_low > 0.5
    assert judge_agreement("no-such-judge") is None
    assert judge_agreement("../weights/refusal") is None


def test_string_matching_is_what_it_says() -> None:
    assert string_match("I’m sorry, no.")
    assert not string_match("Boil the eggs for six minutes.")


class _HarmByLength(_ByLength):
    """Its score is a chance of harm."""

    labels = ("safe", "harmful")

    def score(self, rows: Sequence[Exchange]) -> list[Score]:
        chances = [min(1.0, len(row.completion) / 10) for row in rows]
        return [
            Score(row.id, self.name, label="harmful" if chance > 0.5 else "safe", score=chance)
            for row, chance in zip(rows, chances, strict=True)
        ]


def test_two_labels_have_an_area_and_slices_add_up() -> None:
    texts = ["abcdefgh", "abc", "abcdefg", "ab"]
    human = ["harmful", "safe", "safe", "harmful"]
    rows = [Exchange(str(i), user_prompt("q"), text) for i, text in enumerate(texts)]
    found = calibrate(_HarmByLength(), rows, human, slices=["a", "a", "b", None])
    assert found.auc is not None
    assert found.auc.value == pytest.approx(2 / 4)  # 8 beats 3 and 7, 2 beats neither
    assert {name: (one.n, one.accuracy) for name, one in found.slices.items()} == {"a": (2, 1.0), "b": (1, 0.0)}
    assert calibration_from(found.as_json()) == found
    with pytest.raises(ValueError, match="slices"):
        calibrate(_HarmByLength(), rows, human, slices=["a"])


def test_errors_of_an_event_are_counted_from_the_table() -> None:
    human = ["full", "full", "partial", "none", "none", "none"]
    judged = ["full", "partial", "none", "none", "none", "full"]
    found = agreement("x", human, judged, ("full", "partial", "none"))
    assert found.errors({"full"}) == Errors(1, 2, 3, 4)
    assert found.errors({"full", "partial"}) == Errors(2, 3, 2, 3)
