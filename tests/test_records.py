"""Records in and out of JSONL, and what a broken file is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.errors import UserError
from charter.records import (
    Demonstration,
    Message,
    Preference,
    as_row,
    conversation_of,
    demonstration_from,
    parse_jsonl,
    preference_from,
    read_jsonl,
    user_prompt,
    write_jsonl,
    write_text,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
CLAUSES = st.lists(TEXT, max_size=2).map(tuple)
PROMPTS = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), TEXT), min_size=1, max_size=3
).map(tuple)


@given(st.builds(Preference, TEXT, PROMPTS, TEXT, TEXT, CLAUSES, TEXT, st.floats(0.01, 1), TEXT))
def test_a_preference_survives_json(preference: Preference) -> None:
    assert preference_from(json.loads(json.dumps(as_row(preference)))) == preference


@given(st.builds(Demonstration, TEXT, PROMPTS, TEXT, CLAUSES, TEXT, st.floats(0.01, 1)))
def test_a_demonstration_survives_json(demonstration: Demonstration) -> None:
    assert demonstration_from(json.loads(json.dumps(as_row(demonstration)))) == demonstration


@given(st.lists(st.dictionaries(TEXT, TEXT, max_size=3), max_size=5))
def test_rows_survive_a_file_whatever_separators_they_hold(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, rows)
    assert list(read_jsonl(path)) == list(enumerate(rows, 1))


def test_empty_lines_count_and_a_byte_order_mark_does_not_hurt() -> None:
    lines = [b'\xef\xbb\xbf{"a": 1}\r\n', b"\n", b'  {"a": "\xe2\x80\xa8"}\n']
    assert list(parse_jsonl(lines, "x")) == [(1, {"a": 1}), (3, {"a": "\u2028"})]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1}\n{"a": \n', ["rows.jsonl, line 2", "not valid JSON", "column"]),
        (b"[1, 2]\n", ["rows.jsonl, line 1", "object", "list"]),
        (b'{"a": 1}\n\n{"a": "\xff"}\n', ["rows.jsonl, line 3", "UTF-8"]),
        (b'{"a":' + b"[" * 200_000 + b"\n", ["rows.jsonl, line 1"]),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: bytes, says: list[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(read_jsonl(path))
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.jsonl", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            list(read_jsonl(path))


def test_a_conversation_is_a_string_or_messages() -> None:
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    assert conversation_of({"prompt": "Hi"}, "x") == user_prompt("Hi")
    assert conversation_of({"prompt": turns}, "x") == user_prompt("Hi", "Be short.")
    assert conversation_of({"messages": turns, "prompt": "other"}, "x") == user_prompt("Hi", "Be short.")
    assert conversation_of({"messages": None, "prompt": "Hi"}, "x") == user_prompt("Hi")
    assert conversation_of({"messages": [{"role": "assistant", "content": None}]}, "x") == (Message("assistant", ""),)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": "  "},
        {"prompt": 3},
        {"messages": []},
        {"messages": ["Hi"]},
        {"messages": [{"content": "no role"}]},
        {"messages": [{"role": "wizard", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
    ],
)
def test_what_is_no_conversation_names_its_place(row: dict[str, object]) -> None:
    with pytest.raises(UserError, match="data, line 7"):
        conversation_of(row, "data, line 7")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
