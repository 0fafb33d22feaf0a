"""The core suites: their counts and shape, no near-duplicates, nothing from the training pairs, honest checkers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charter
from charter.errors import UserError
from charter.evaluation import load_suite, suite_digest, suite_names
from charter.evaluation.suites.catalogue import CORE_SUITES
from charter.evaluation.suites.checks import KINDS, check_answer, check_instruction, normalise
from charter.evaluation.suites.samples import DATA, SUITES
from charter.records import read_jsonl

HARM_CLAUSES = {"harm.violence", "harm.crime", "harm.drugs", "harm.people", "privacy.personal-data"}
REFUSAL = "I'm sorry, but I can't help with that."
TRAINING_DATA = Path(charter.__file__).parent / "feedback" / "data"


def trigrams(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def near(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> bool:
    return len(left & right) > 0.5 * len(left | right)


def test_there_are_enough_samples_in_every_suite() -> None:
    unseen = [sample for sample in load_suite("harmful_requests") if not sample.seen]
    assert len(unseen) >= 120
    assert len(load_suite("harmful_requests")) >= 160
    for name in ("benign_lookalikes", "instruction_following", "knowledge"):
        assert len(load_suite(name)) >= 420


@pytest.mark.parametrize("name", CORE_SUITES)
def test_samples_are_well_formed_and_slices_are_not_tiny(name: str) -> None:
    samples = load_suite(name)
    assert len({sample.id for sample in samples}) == len(samples)
    assert len({sample.prompt.casefold() for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.suite == name
        assert sample.prompt == sample.prompt.strip() != ""
        assert (sample.target is not None) == (name == "knowledge")
        assert (sample.check is not None) == (name == "instruction_following")
    sizes = Counter(sample.slice for sample in samples)
    assert list(sizes) == suite_names()[name]
    assert min(sizes.values()) >= {"harmful_requests": 4, "instruction_following": 10}.get(name, 18)


def test_every_sample_names_a_clause_of_its_kind() -> None:
    allowed = {
        "harmful_requests": HARM_CLAUSES,
        "benign_lookalikes": {"help.no-overcaution"},
        "instruction_following": {"help.instructions"},
        "knowledge": {"honesty.facts"},
    }
    for name, clauses in allowed.items():
        assert {clause for sample in load_suite(name) for clause in sample.clauses} == clauses
        assert all(sample.clauses for sample in load_suite(name))


def test_a_category_is_either_trained_on_or_not() -> None:
    samples = load_suite("harmful_requests")
    seen, unseen = ({s.slice for s in samples if s.seen is flag} for flag in (True, False))
    assert not seen & unseen
    assert len(unseen) >= 13


def test_requests_and_lookalikes_have_no_near_duplicates() -> None:
    prompts = [s.prompt for name in ("harmful_requests", "benign_lookalikes") for s in load_suite(name)]
    grams = [(prompt, trigrams(prompt)) for prompt in prompts]
    assert [(a, b) for (a, x), (b, y) in combinations(grams, 2) if near(x, y)] == []


@pytest.mark.parametrize("name", ["instruction_following", "knowledge"])
def test_template_variants_differ_in_what_they_ask(name: str) -> None:
    """Inside a template the slot has to differ; across slices no two prompts may be near-duplicates."""
    samples = load_suite(name)
    assert len({frozenset(re.findall(r"\w+|\S", s.prompt.lower())) for s in samples}) >= len(samples) - 6
    grams = [(sample, trigrams(sample.prompt)) for sample in samples]
    assert [(a.id, b.id) for (a, x), (b, y) in combinations(grams, 2) if a.slice != b.slice and near(x, y)] == []


@pytest.mark.parametrize("file", sorted(path.name for path in TRAINING_DATA.glob("*.jsonl")))
def test_no_prompt_is_in_the_training_data(file: str) -> None:
    trained = [
        (number, trigrams(str(row[field])))
        for number, row in read_jsonl(TRAINING_DATA / file)
        for field in ("prompt", "harmful", "benign")
        if field in row
    ]
    assert len(trained) >= 240
    tested = [(sample, trigrams(sample.prompt)) for name in CORE_SUITES for sample in load_suite(name)]
    assert [(sample.id, line) for sample, x in tested for line, y in trained if near(x, y)] == []


def test_an_unknown_suite_is_named_with_the_nearest_right_one() -> None:
    with pytest.raises(UserError, match='Did you mean "knowledge"'):
        load_suite("knowlege")


def test_the_digest_is_of_the_content() -> None:
    text = (DATA / "knowledge.jsonl").read_text(encoding="utf-8")
    assert suite_digest("knowledge") == hashlib.sha256(text.encode()).hexdigest()
    assert len({suite_digest(name) for name in SUITES}) == len(SUITES)


CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"kind": "one_word"}, ["Tea", "Tea.", '"Well-being"', "don't"], ["", "...", "Green tea", "Tea, please"]),
    (
        {"kind": "ends_with", "word": "home"},
        ["We all go home.", 'She said: "let us go home!"', "now go HOME"],
        ["home", "We go home now.", "He went to the rest homes."],
    ),
    (
        {"kind": "includes", "words": ["deep", "blue"]},
        ["The sea is blue and deep.", "Deep and Blue it is"],
        ["The sea is blue.", "deep blue", "deepest blueish water is here"],
    ),
    (
        {"kind": "bullets", "count": 2},
        ["- one\n- two", "Here:\n* one\n\n* two", "• a\n• b"],
        ["- one", "- a\n- b\n- c", "1. a\n2. b", "one - two", "-a\n-b"],
    ),
    (
        {"kind": "numbered", "count": 3},
        ["1. a\n2. b\n3. c", "Sure:\n1) a\n2) b\n3) c"],
        ["1. a\n2. b", "1. a\n3. b\n2. c", "1. a\n2. b\n3. c\n4. d", "- a\n- b\n- c"],
    ),
    (
        {"kind": "sentences", "count": 2},
        ["Cats sleep. Cats eat.", "Is it? Yes!", "J. R. Miller wrote it. I read it.", "It costs 3.50 euros. Fine."],
        ["Cats sleep.", "One. Two. Three.", "Cats sleep and cats eat"],
    ),
    (
        {"kind": "starts_with", "text": "Long ago"},
        ["Long ago, there was a sea.", '"Long ago" they said'],
        ["long ago it was", "It was long ago", "Long ago"],
    ),
    ({"kind": "lowercase"}, ["the sea is wide.", "no. 7 is mine"], ["The sea", "the Sea", "sea"]),
    ({"kind": "uppercase"}, ["THE SEA IS WIDE!", "WE ARE 7"], ["The sea", "THE SEa", "12 13", "SEA"]),
    ({"kind": "no_commas"}, ["The sea is wide and deep."], ["Wide, deep, blue and cold.", "The sea."]),
    (
        {"kind": "json_keys", "keys": ["name", "age"]},
        ['{"name": "Tom", "age": 3}', '```json\n{"age": null,\n "name": "x"}\n```'],
        ['{"name": "Tom"}', '{"name": 1, "age": 2, "x": 3}', "{'name': 1, 'age': 2}", '[{"name": 1, "age": 2}]', "7"],
    ),
    ({"kind": "max_words", "limit": 4}, ["The sea is wide.", "Well-known sea"], ["The sea is very wide", "sea"]),
    ({"kind": "min_words", "limit": 4}, ["The sea is wide."], ["The sea - ! is", "wide sea", "1. sea\n2. sea\n3. sea"]),
    ({"kind": "quoted"}, ['"The sea."', "“All of it.”"], ['The "sea".', '"The sea', "'The sea'", '""']),
    (
        {"kind": "separator", "separator": ";", "count": 3},
        ["ant; bee; cat", "ant;bee;polar bear."],
        ["ant, bee, cat", "ant; bee", "ant; bee; ant", "ant;\nbee; cat", "a; b; here are the three animals you want"],
    ),
    (
        {"kind": "repeat", "text": "good night", "times": 2},
        ["good night good night", '"Good night", good night!'],
        ["good night", "good night good night good night", "ok: good night good night", "goodnight goodnight"],
    ),
    ({"kind": "yes_no"}, ["Yes", "no.", '"No"'], ["Yes, it is", "maybe", "Yesterday", ""]),
    ({"kind": "mention", "name": "Ana"}, ["Then ana ran.", "Ana's cat"], ["Ana", "Anabel ran", "She ran home"]),
    (
        {"kind": "avoid", "words": ["the"]},
        ["Their sea is wide and deep."],
        ["Look at the sea, so wide.", "The sea is wide, yes", "sea"],
    ),
    (
        {"kind": "title"},
        ["<<The Sea>>\nWaves come and waves go.", "<< Sea >> It is wide and very deep."],
        [
            "<The Sea> Waves come and go.",
            "The Sea\nWaves come and waves go.",
            "<<>> Waves come and waves go",
            "<<Sea>>",
        ],
    ),
    (
        {"kind": "paragraphs", "count": 2},
        ["One block\nstill one.\n\nTwo.", "a\n \n\nb"],
        ["One.\nTwo.", "a\n\nb\n\nc"],
    ),
    (
        {"kind": "choice", "options": ["a cat", "a dog"]},
        ["A cat.", '"a dog"'],
        ["a cat or a dog", "I like a cat", "cat"],
    ),
]


def test_every_kind_of_check_has_cases() -> None:
    used = {sample.slice for sample in load_suite("instruction_following")}
    assert {case[0]["kind"] for case in CASES} == set(KINDS) == used


@pytest.mark.parametrize(("check", "good", "bad"), CASES, ids=[case[0]["kind"] for case in CASES])
def test_constraints_are_checked(check: Mapping[str, Any], good: list[str], bad: list[str]) -> None:
    assert [answer for answer in good if not check_instruction(check, answer)] == []
    assert [answer for answer in bad if check_instruction(check, answer)] == []


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet='-1.,;"{}[]<>:\n aA9²', max_size=60), st.just("[" * 100_000)))
def test_no_text_breaks_a_checker(answer: str) -> None:
    """Models write anything: every checker gives a plain yes or no, the same with blank space around the text."""
    for check, _, _ in CASES:
        result = check_instruction(check, answer)
        assert isinstance(result, bool)
        assert result == check_instruction(check, f"\n {answer} \n")
    assert isinstance(check_answer(["12", "a b", "O"], answer), bool)


def test_about_asks_for_the_topic() -> None:
    check = {"kind": "max_words", "limit": 9, "about": ["gard"]}
    assert check_instruction(check, "Gardens are green.")
    assert not check_instruction(check, "I cannot answer this.")
    assert not check_instruction(check, "Regardless of that")


def test_an_unknown_kind_of_check_is_an_error() -> None:
    with pytest.raises(UserError, match='Did you mean "bullets"'):
        check_instruction({"kind": "bulets", "count": 2}, "- a\n- b")


def dutiful(check: Mapping[str, Any]) -> str:
    """An answer that a careful person would write for this constraint."""
    topic = check.get("about", ["things"])[0]
    count = check.get("count", 0)
    return {
        "one_word": "tea",
        "ends_with": f"Think of {topic} and {check.get('word')}.",
        "includes": f"Here they are: {' and '.join(check.get('words', []))}.",
        "bullets": "\n".join(f"- point {i}" for i in range(count)),
        "numbered": "\n".join(f"{i + 1}. word" for i in range(count)),
        "sentences": " ".join([f"We like {topic}."] * count),
        "starts_with": f"{check.get('text')}, we liked it.",
        "lowercase": f"we like {topic}.",
        "uppercase": f"WE LIKE {topic.upper()}!",
        "no_commas": f"We all like {topic} very much.",
        "json_keys": "{" + ", ".join(f'"{key}": 1' for key in check.get("keys", [])) + "}",
        "max_words": f"We like {topic}.",
        "min_words": f"We like {topic}. " * 10,
        "quoted": f'"We like {topic}."',
        "separator": check.get("separator", "").join(f"item{i}" for i in range(count)),
        "repeat": " ".join([check.get("text", "")] * check.get("times", 0)),
        "yes_no": "Yes.",
        "mention": f"Hello, {check.get('name')}!",
        "avoid": f"Many like {topic} wherever they go.",
        "title": "<<A Title>>\nWe all like this very much.",
        "paragraphs": "\n\n".join([f"We like {topic}."] * count),
        "choice": check.get("options", [""])[-1],
    }[check["kind"]]


def test_every_instruction_can_be_met_and_neither_refusal_nor_echo_meets_it() -> None:
    for sample in load_suite("instruction_following"):
        assert sample.check is not None
        assert check_instruction(sample.check, dutiful(sample.check)), sample.id
        assert not check_instruction(sample.check, REFUSAL), sample.id
        assert not check_instruction(sample.check, ""), sample.id


def test_every_question_accepts_its_answer_and_nothing_vacuous() -> None:
    for sample in load_suite("knowledge"):
        for answer in sample.target:
            assert check_answer(sample.target, answer), sample.id
            assert check_answer(sample.target, f"The answer is **{answer}**."), sample.id
            assert not check_answer(sample.target, f"It is not {answer}."), sample.id
        assert not check_answer(sample.target, sample.prompt), sample.id
        assert not check_answer(sample.target, REFUSAL), sample.id
        assert not check_answer(sample.target, ""), sample.id


@pytest.mark.parametrize(
    ("accepted", "answer"),
    [
        (["Brasilia"], "Brasília"),
        (["Washington"], "It is Washington, D.C."),
        (["Paris"], "\n\nThe capital is:\n\nPARIS!\nIt has many bridges."),
        (["1000"], "There are 1,000 metres in a kilometre."),
        (["Rowling"], "J. K. Rowling wrote them."),
        (["don't"], "“don’t”"),
        (["H2O"], "H₂O"),
        (["O"], "The symbol is O."),
        (["lose"], 'The opposite is "lose" or "to lose".'),
        (["0"], "0 degrees"),
        (["euro"], "The euro"),
    ],
)
def test_right_answers_are_accepted(accepted: list[str], answer: str) -> None:
    assert check_answer(accepted, answer)


@pytest.mark.parametrize(
    ("accepted", "answer"),
    [
        (["12"], "112"),
        (["12"], "12.5"),
        (["5"], "-5"),
        (["1"], "1,000"),
        (["Rome"], "Romeo"),
        (["Paris"], "Lyon. Paris is another city."),
        (["Paris"], "It may be Paris or Lyon."),
        (["Paris"], "Lyon, Nice, Lille, Paris"),
        (["Paris"], "The capital is not Paris."),
        (["Paris"], "Well, " + "very " * 25 + "surely Paris."),
        (["O"], "o dear"),
        (["A"], "It's a letter."),
        (["cat"], ""),
        (["cat"], "***"),
    ],
)
def test_wrong_or_evasive_answers_are_not(accepted: list[str], answer: str) -> None:
    assert not check_answer(accepted, answer)


def test_normalising_forgets_form_but_keeps_numbers() -> None:
    assert normalise("The  Éclair's, a-b!") == "eclairs b"
    assert normalise("3.5") != normalise("35")
    assert normalise("(-3)") != normalise("3")
