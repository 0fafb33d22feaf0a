"""The built-in pairs: shape, counts, and that no two rows are the same thing twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

import charter
from charter.document import STARTER, load_charter
from charter.errors import UserError
from charter.feedback.pairs import ALL, BuiltinPair, load_benign_prompts, load_pairs

DATA = Path(charter.__file__).parent / "feedback" / "data"
HARM_CLAUSES = {
    "weapons": "harm.violence",
    "violence": "harm.violence",
    "hacking": "harm.crime",
    "fraud": "harm.crime",
    "theft": "harm.crime",
    "forgery": "harm.crime",
    "drugs": "harm.drugs",
    "hate": "harm.people",
    "harassment": "harm.people",
    "privacy": "privacy.personal-data",
}
NO = re.compile(
    r"\b(can't|cannot|won't|will not|no|nope|not|isn't|don't|none|refuse|sorry|rather not|unable|stop|no part)\b", re.I
)


@pytest.fixture(scope="module")
def pairs() -> list[BuiltinPair]:
    """The rows of pairs.jsonl; twins have tests of their own."""
    return [pair for pair in load_pairs() if pair.id.startswith("p")]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    found = words(text)
    return frozenset(tuple(found[i : i + 3]) for i in range(max(1, len(found) - 2)))


def overlap(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    return len(left & right) / len(left | right)


def test_the_file_has_exactly_the_documented_fields() -> None:
    lines = (DATA / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        assert list(row) == ["id", "kind", "category", "clauses", "prompt", "chosen", "rejected"], f"line {number}"
        assert row["id"] == f"p{number:04d}"
    twins = (DATA / "twins.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(twins, 1):
        row = json.loads(line)
        assert list(row) == ["id", "category", "clauses", "harmful", "refusal", "benign"], f"line {number}"
        assert row["id"] == f"t{number:04d}"
    assert len(load_pairs()) == len(lines) + 2 * len(twins)


def test_the_halves_of_a_twin_share_half_of_their_words_and_one_refusal() -> None:
    by_id = {pair.id: pair for pair in load_pairs() if pair.id.startswith("t")}
    for name in {pair[:-1] for pair in by_id}:
        harmful, benign = by_id[f"{name}h"], by_id[f"{name}b"]
        left, right = set(words(harmful.prompt)), set(words(benign.prompt))
        assert len(left & right) * 2 >= min(len(left), len(right)), name
        assert (harmful.chosen, benign.chosen) == (benign.rejected, None)


def test_benign_prompts_are_distinct_and_of_their_kind() -> None:
    alarming, general = load_benign_prompts(("alarming",)), load_benign_prompts(("general",))
    assert load_benign_prompts() == alarming + general
    assert len({prompt.id for prompt in alarming + general}) == len(alarming) + len(general)
    assert min(len(alarming) / 450, len(general) / 350) >= 1
    assert Counter(prompt.category for prompt in general).most_common(1)[0][0] == "facts"


def test_there_are_enough_of_each_kind_and_category(pairs: list[BuiltinPair]) -> None:
    kinds = Counter(pair.kind for pair in pairs)
    assert set(kinds) == set(ALL)
    assert kinds["harmful"] >= 240
    assert kinds["plain"] >= 60
    # A third at least has to be look-alikes, or safety is bought with refusals of harmless requests.
    assert kinds["lookalike"] * 3 >= len(pairs)
    for kind in ("harmful", "lookalike"):
        by_category = Counter(pair.category for pair in pairs if pair.kind == kind)
        assert set(by_category) == set(HARM_CLAUSES)
        assert min(by_category.values()) >= 20


def test_every_row_names_the_clause_of_its_category(pairs: list[BuiltinPair]) -> None:
    for pair in pairs:
        expected = {"lookalike": "help.no-overcaution", "plain": "help.instructions"}.get(pair.kind)
        assert pair.clauses == (expected or HARM_CLAUSES[pair.category],), pair.id


def test_the_clauses_are_in_the_starter_charter(pairs: list[BuiltinPair]) -> None:
    starter = load_charter(STARTER)
    assert {clause for pair in pairs for clause in pair.clauses} <= {clause.id for clause in starter.clauses}


def test_texts_are_clean_and_none_is_used_twice(pairs: list[BuiltinPair]) -> None:
    for texts in (
        [pair.prompt for pair in pairs],
        [pair.chosen for pair in pairs],
        [pair.rejected for pair in pairs if pair.rejected is not None],
    ):
        assert all(text == text.strip() != "" for text in texts)
        assert [text for text, n in Counter(text.casefold() for text in texts).items() if n > 1] == []
    assert [pair.id for pair in pairs if pair.chosen == pair.rejected] == []


def test_no_prompt_is_a_near_duplicate_of_another(pairs: list[BuiltinPair]) -> None:
    """Rows of one kind share under half of their three-word runs; a harmful row and its harmless twin may share more,
    since the shared words are the point, but never almost all."""
    seen = [(pair, shingles(pair.prompt)) for pair in pairs]
    close = [
        (a.id, b.id) for (a, x), (b, y) in combinations(seen, 2) if overlap(x, y) > (0.5 if a.kind == b.kind else 0.7)
    ]
    assert close == []


def test_no_answer_is_a_near_duplicate_of_another(pairs: list[BuiltinPair]) -> None:
    seen = [(pair.id, shingles(pair.chosen)) for pair in pairs]
    assert [(a, b) for (a, x), (b, y) in combinations(seen, 2) if overlap(x, y) > 0.5] == []


def test_refusals_say_no_at_once_and_in_many_ways(pairs: list[BuiltinPair]) -> None:
    refusals = [pair for pair in pairs if pair.kind == "harmful"]
    for pair in refusals:
        assert NO.search(" ".join(pair.chosen.split()[:9])), pair.chosen
        assert len(re.findall(r"[.!?][\"']?(?=\s|$)", pair.chosen)) <= 3, pair.chosen
        assert 10 <= len(words(pair.chosen)) <= 60, pair.chosen
    openings = Counter(tuple(words(pair.chosen)[:5]) for pair in refusals)
    assert len(openings) >= 150
    # No one opening may become the tic that the model learns in place of the reason.
    assert max(openings.values()) <= len(refusals) // 20


def test_harmful_rows_leave_the_rejected_side_to_the_run_or_give_an_opening_only(pairs: list[BuiltinPair]) -> None:
    given = [pair.rejected for pair in pairs if pair.kind == "harmful" and pair.rejected is not None]
    harmful = sum(pair.kind == "harmful" for pair in pairs)
    assert 0.15 * harmful <= len(given) <= 0.35 * harmful
    # An opening without content: too short to teach anything.
    assert [text for text in given if len(words(text)) > 20] == []


def test_lookalikes_are_answered_in_full_and_their_rejected_side_refuses(pairs: list[BuiltinPair]) -> None:
    for pair in pairs:
        if pair.kind != "lookalike":
            continue
        assert 30 <= len(pair.chosen.split()) <= 95, pair.id
        assert pair.rejected is not None
        assert NO.search(pair.rejected), pair.rejected
        assert len(words(pair.rejected)) <= 25, pair.rejected


def test_plain_rows_have_both_sides(pairs: list[BuiltinPair]) -> None:
    assert [pair.id for pair in pairs if pair.kind == "plain" and pair.rejected is None] == []


def test_kinds_can_be_chosen(pairs: list[BuiltinPair]) -> None:
    assert load_pairs(["plain"]) == [pair for pair in pairs if pair.kind == "plain"]
    assert load_pairs(["plain", "harmful"]) == [pair for pair in load_pairs() if pair.kind != "lookalike"]
    assert load_pairs("lookalike") == load_pairs({"lookalike"})
    assert load_pairs([]) == []


def test_an_unknown_kind_is_named_with_the_nearest_right_one() -> None:
    with pytest.raises(UserError, match=r'no kind "lookalikes".*"lookalike"'):
        load_pairs(["lookalikes"])


def test_the_card_states_the_counts_that_the_file_has(pairs: list[BuiltinPair]) -> None:
    card = (DATA / "CARD.md").read_text(encoding="utf-8")
    stated = {
        (category.strip(), *map(int, counts))
        for category, *counts in re.findall(r"^\| ([a-z]+) \| (\d+) \| (\d+) \| (\d+) \|$", card, flags=re.M)
    }
    counts = Counter((pair.category, pair.kind) for pair in pairs)
    real = {
        (category, *(counts[category, kind] for kind in ("harmful", "lookalike", "plain")))
        for category in {pair.category for pair in pairs}
    }
    assert stated == real
