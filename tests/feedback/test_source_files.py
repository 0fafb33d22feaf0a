"""The same rows from every kind of file, and what a broken file is told."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charter.errors import UserError
from charter.feedback.formats import (
    load,
    read_demonstrations,
    read_preferences,
    read_rated,
    read_scored,
)
from charter.records import Demonstration, Message, Preference, Rated, Scored, as_row, rated_from, scored_from

ROWS: list[dict[str, Any]] = [
    {"prompt": 'Quote: "a", then b\nand \u2028 c', "chosen": "Yes, \u00e9.", "rejected": "No."},
    {"prompt": "[1, 2, 3] sorted?", "chosen": "{}", "rejected": "[]"},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def array(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, indent=2))


def comma(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8-sig"))


def tab(path: Path, rows: list[dict[str, Any]]) -> None:
    comma(path, rows, "\t")


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def packed(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


WRITERS = {
    "a.jsonl": (jsonl, "line"), "a.json": (array, "item"), "b.json": (jsonl, "line"), "a.csv": (comma, "row"),
    "a.tsv": (tab, "row"), "a.parquet": (parquet, "row"), "a.jsonl.gz": (packed, "line"), "noname": (jsonl, "line"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_pairs_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    writer, unit = WRITERS[name]
    writer(tmp_path / name, ROWS)
    found = read_preferences(str(tmp_path / name))
    assert [(p.prompt[0].content, p.chosen, p.rejected) for p in found] == [tuple(row.values()) for row in ROWS]
    assert [p.id for p in found] == [f"{name.split('.')[0]}-1", f"{name.split('.')[0]}-2"]
    assert found[1].source == f"{tmp_path / name}, {unit} 2"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.csv"])
def test_messages_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    row = {"messages": json.dumps(turns) if name == "a.csv" else turns}
    WRITERS[name][0](tmp_path / name, [row])
    (found,) = read_demonstrations(str(tmp_path / name))
    assert (found.prompt, found.completion) == ((Message("user", "Hi"),), "Yes?")


def test_parquet_fills_what_a_row_lacks_and_that_is_no_column(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "c", "input": "d", "output": "e"}]
    pq.write_table(
        pa.Table.from_pylist([{"chosen": None, "input": None, **row} for row in rows]), tmp_path / "a.parquet"
    )
    assert load(str(tmp_path / "a.parquet")).format.name == "Alpaca instructions"
    assert [d.prompt[0].content for d in read_demonstrations(str(tmp_path / "a.parquet"))] == ["a", "c\n\nd"]


def test_scores_and_labels_from_csv_are_numbers(tmp_path: Path) -> None:
    comma(tmp_path / "s.csv", [{"prompt": "a", "response": "b", "helpfulness": 3}])
    comma(tmp_path / "r.csv", [{"prompt": "a", "completion": "b", "label": False}])
    assert read_scored(str(tmp_path / "s.csv"))[0].scores == {"helpfulness": 3.0}
    assert read_rated(str(tmp_path / "r.csv"))[0].desirable is False


def test_a_folder_is_read_as_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    jsonl(folder / "train.jsonl", ROWS)
    jsonl(folder / "test.jsonl", ROWS[:1])
    assert [p.chosen for p in read_preferences(str(folder))] == [row["chosen"] for row in ROWS]
    assert len(read_preferences(str(folder), "test")) == 1
    with pytest.raises(UserError, match="split validation"):
        read_preferences(str(folder), "validation")


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "array cut short": ("a.json", b'[{"prompt": "a"},\n', "line 2: not valid JSON"),
    "array of text": ("a.json", b'["a"]', "item 1: a JSON object is needed"),
    "one object over many lines": ("a.json", b'{\n"train": [], \n"test": []\n}', "one JSON object with the keys train"),
    "a line cut short": ("a.json", b'{"prompt": "a"}\n{"prompt"\n', "line 2: not valid JSON"),
    "no rows": ("a.json", b"[]", "holds no rows"),
    "nothing": ("a.json", b"", "holds no rows"),
    "not UTF-8": ("a.json", b'[{"prompt": "caf\xe9"}]', "not UTF-8"),
    "too deep": ("a.json", b"[" * 200_000, "nested too deeply"),
    "CSV with too few cells": ("a.csv", b"prompt,completion\na,b\nc\n", "row 2: has 1 cells"),
    "CSV with too many cells": ("a.csv", b"prompt,completion\na,b,c\n", "row 1: has 3 cells"),
    "CSV with a column twice": ("a.csv", b"prompt,prompt\na,b\n", "a name of its own"),
    "CSV without rows": ("a.csv", b"prompt,completion\n", "holds no rows"),
    "CSV not UTF-8": ("a.csv", b"prompt\ncaf\xe9\n", "not UTF-8"),
    "no Parquet": ("a.parquet", b"PAR1 it is not", "cannot be read as Parquet"),
    "no gzip": ("a.jsonl.gz", b"plain", "cannot be read"),
    "gzip cut short": ("a.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n')[:-9], "cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_in_one_paragraph(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(str(path))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_a_missing_file_of_any_kind(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        load(str(tmp_path / name))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=20)
SAID = TEXT.filter(str.strip)
PROMPT = st.builds(
    lambda system, text: (*((Message("system", system),) if system else ()), Message("user", text)),
    st.none() | SAID,
    SAID,
)
CLAUSES = st.lists(SAID, max_size=2).map(tuple)
SCORES = st.dictionaries(SAID, st.floats(-10, 10), min_size=1, max_size=3)
RECORDS = {
    "preferences": (
        st.builds(Preference, st.just("x"), PROMPT, TEXT, TEXT, CLAUSES, st.just(""), st.floats(0.01, 1), TEXT),
        read_preferences,
    ),
    "demonstrations": (
        st.builds(Demonstration, st.just("x"), PROMPT, TEXT, CLAUSES, st.just(""), st.floats(0, 9), st.booleans()),
        read_demonstrations,
    ),
    "rated": (
        st.builds(Rated, st.just("x"), PROMPT, TEXT, st.booleans(), CLAUSES, st.just(""), st.floats(0, 9)),
        read_rated,
    ),
    "scored": (st.builds(Scored, st.just("x"), PROMPT, TEXT, SCORES, CLAUSES, st.just("")), read_scored),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_records_that_were_written_are_read_back(tmp_path: Path, kind: str) -> None:
    strategy, read = RECORDS[kind]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(strategy)
    def check(record: Any) -> None:
        jsonl(tmp_path / "a.jsonl", [as_row(record)])
        (found,) = read(str(tmp_path / "a.jsonl"))
        assert as_row(found) == {**as_row(record), "source": f"{tmp_path / 'a.jsonl'}, line 1"}

    check()


@settings(max_examples=25, deadline=None)
@given(st.builds(Rated, TEXT, PROMPT, TEXT, st.booleans()), st.builds(Scored, TEXT, PROMPT, TEXT, SCORES))
def test_feedback_survives_json(rated: Rated, scored: Scored) -> None:
    assert rated_from(json.loads(json.dumps(as_row(rated)))) == rated
    assert scored_from(json.loads(json.dumps(as_row(scored)))) == scored


def test_any_text_survives_csv(tmp_path: Path) -> None:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(SAID, TEXT), min_size=1, max_size=4))
    def check(rows: list[tuple[str, str]]) -> None:
        comma(tmp_path / "a.csv", [{"prompt": prompt, "completion": said} for prompt, said in rows])
        found = read_demonstrations(str(tmp_path / "a.csv"))
        assert [(one.prompt[0].content, one.completion) for one in found] == rows

    check()
