"""`charter data inspect` as a script calls it: JSON on standard output, progress apart, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import forked, pairs, paragraph, write_rows


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_rows(tmp_path / "pairs.jsonl", [*pairs(3), {"prompt": "x" * 2000, "chosen": "a", "rejected": "b"}])
    return tmp_path


def test_json_has_what_scripts_read(place: Path, tiny_base: Path) -> None:
    options = ["--model", tiny_base, "--max-tokens", "100", "--suites", "knowledge", "--json"]
    done = forked("data", "inspect", "pairs.jsonl", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["rows"], found["max_tokens"]) == ("preference pairs", 4, 100)
    assert found["drops"] == {"longer than 100 tokens": 1}
    assert found["records"]["preferences"] == {"records": 4, "usable": 3, "dropped": {"longer than 100 tokens": 1}}
    assert found["overlaps"] == {"knowledge": {"rows": 0, "first": []}}
    assert set(found["lengths"]) == {"prompt", "chosen", "rejected", "row"}
    assert sum(part["count"] for part in found["lengths"]["prompt"]["histogram"]) == 4
    assert found["duplicates"]["exact_rows"] == 0
    assert "4/4 rows" in done.stderr


def test_tables_say_the_same(place: Path, tiny_base: Path) -> None:
    done = forked("data", "inspect", "pairs.jsonl", "--model", tiny_base, "--max-tokens", "100", cwd=place)
    assert done.returncode == 0, done.stderr
    for part in (
        "pairs.jsonl: preference pairs (strings), 4 rows",
        "3 of 4 as preferences",
        "dropped 1: longer than 100 tokens",
        "Tokens, chosen: median",
        "Length bias: the chosen side is longer",
        "harmful_requests",
        "First example, prompt:\n<|im_start|>user\nSay 0.",
    ):
        assert part in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.jsonl"], "nothing.jsonl: no such file"),
        (["mixed.jsonl"], "mixed.jsonl: mixes formats"),
        (["pairs.jsonl", "--suites", "knowlege"], 'Did you mean "knowledge"?'),
        (["pairs.jsonl", "--suites", ","], "--suites is empty"),
        (["pairs.jsonl", "--model", "./nowhere"], "./nowhere"),
    ],
)
def test_wrong_input_is_exit_code_2_and_one_paragraph(
    place: Path, tiny_base: Path, arguments: list[str], says: str
) -> None:
    write_rows(place / "mixed.jsonl", [*pairs(1), {"instruction": "a", "output": "b"}])
    model = [] if "--model" in arguments else ["--model", str(tiny_base)]
    done = forked("data", "inspect", *arguments, *model, "--json", cwd=place)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert says in paragraph(done)
