"""Every mistake in a charter file is one paragraph with the file, the right line, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charter.document import load_charter
from charter.errors import UserError

Write = Callable[..., Path]


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_charter(path)
    text = str(caught.value)
    assert "\n" not in text, "one paragraph"
    assert caught.value.exit_code == 2
    return text


# (what to replace in the small charter, by what, line of the error, what the message must say)
MISTAKES = [
    ("    severity: high", "    sevrity: high", 8, ['unknown key "sevrity"', '"severity"', "harm.violence"]),
    ("name: small", "name: small\ntitle: x", 3, ['unknown key "title"', "name"]),
    ("kind: must_not", "kind: mustnot", 6, ['"mustnot"', 'Did you mean "must_not"?']),
    ("rule: Write plainly.", 'rule: "  "', 13, ["tone.plain", "rule", "empty"]),
    ("rule: Write plainly.", "rule:", 13, ["rule", "blank"]),
    ("    rule: Write plainly.\n", "", 11, ["tone.plain", "rule"]),
    ("id: tone.plain", "id: harm.violence", 11, ['"harm.violence"', "already taken on line 5"]),
    ("id: tone.plain", "id: Tone Plain", 11, ["small letters"]),
    ("    kind: tone\n", "    kind: tone\n    kind: must\n", 13, ["twice", "line 12"]),
    ("train: [pairs]", "train: [pears]", 9, ['"pears"', 'Did you mean "pairs"?']),
    ("train: [pairs]", "train: pairs", 9, ["must be a list"]),
    ("train: [pairs]", "guard: [clasifier]", 9, ['Did you mean "classifier"?']),
    ("train: [pairs]", "watch: [refusals_rate]", 9, ['Did you mean "refusal_rate"?']),
    ("test: [harmful_requests]", "test: [a/b/c]", 10, ["suite/slice"]),
    ('version: "1"', "version: 1.0", 3, ["must be text", 'Put it in quotes: "1.0"']),
    ("charter: 1", "charter: 2", 1, ["2", "charter: 1"]),
    ("charter: 1\n", "", 1, ['needs "charter"']),
    ("severity: high", "frameworks: {atlas: [AML.T0O54]}", 8, ["ATLAS", 'Did you mean "AML.T0']),
    ("severity: high", "frameworks: {atlas: [AML.T9999]}", 8, ["ATLAS"]),
    ("severity: high", "frameworks: {atals: [AML.T0054]}", 8, ['"atals"', '"atlas"']),
    ("severity: high", 'frameworks: {nist_ai_rmf: ["MEASURE 2.14"]}', 8, ["NIST AI RMF", 'Did you mean "MEASURE 2.']),
    ("severity: high", "frameworks: {nist_ai_600_1: [MS-2.7-8]}", 8, ["600-1", 'Did you mean "MS-2.7-008"?']),
    ("severity: high", "frameworks: {nist_ai_600_1: [MS-5.1-001]}", 8, ["600-1"]),
    ("severity: high", "frameworks: {eu_ai_act: [114]}", 8, ["1 to 113"]),
    ("severity: high", 'frameworks: {eu_ai_act: ["Article 15"]}', 8, ['Did you mean "15"?']),
    ("severity: high", "severity: [high", 9, ["not valid YAML"]),
    ("severity: high", "severity: !!python/name:os.system x", 8, ["tag"]),
    ("train: [pairs]", "train: !env [pairs]", 9, ["tag"]),
    ("severity: high", "severity: 2026-13-45", 8, ["quotes"]),
    ("severity: high", "remove: true", 5, ["removed"]),
    ("name: small", "name: small\noverrides: [{when: {}, clauses: [{id: tone.plain, rule: x}]}]", 3, ["locale"]),
    ("name: small", "name: small\noverrides: [{when: {local: de}, clauses: [{id: a, rule: x}]}]", 3, ['"locale"']),
    ("name: small", "name: small\noverrides: [{when: {locale: no}, clauses: [{id: a, rule: x}]}]", 3, ["quotes"]),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), MISTAKES)
def test_mistake(write: Write, small: str, old: str, new: str, line: int, says: list[str]) -> None:
    assert small.count(old) == 1
    path = write(small.replace(old, new))
    text = message(path)
    assert text.startswith(f"{path}, line {line}: ")
    for part in says:
        assert part in text


def test_several_mistakes_name_all_lines(write: Write, small: str) -> None:
    text = message(write(small.replace("kind: tone", "kind: tune").replace("severity: high", "sevrity: high")))
    assert "line 8" in text.split(":")[0]
    assert "Also wrong: line 12." in text


@pytest.mark.parametrize("content", ["- a\n- b\n", "just words\n", "", "# only a comment\n", "42\n"])
def test_not_a_mapping(write: Write, content: str) -> None:
    assert "a charter is a mapping" in message(write(content))


def test_no_clauses(write: Write) -> None:
    assert "no clauses" in message(write('charter: 1\nname: a\nversion: "1"\nclauses: []\n'))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "nothing.yaml")
    assert "cannot be read" in message(tmp_path)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "charter.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    assert "UTF-8" in message(path)
    path.write_bytes(b"charter: 1\nname: a\x00b\n")
    assert f"{path}, line 2: " in message(path)


def test_hostile_yaml_is_refused_quickly(write: Write) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert "values" in message(write(laughs))
    assert "deeply" in message(write("[" * 5000))
    assert "values" in message(write("a: &a [*a]\n")) or "deeply" in message(write("a: &a [*a]\n"))
    assert "key must be a word" in message(write("? [a, b]\n: c\n"))


def test_two_documents(write: Write, small: str) -> None:
    assert "not valid YAML" in message(write(small + "---\nname: b\n"))


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path, small: str) -> None:
    path = tmp_path / "charter.yaml"
    path.write_text(small, encoding="utf-8-sig")
    assert load_charter(path).name == "small"


def test_unknown_clause_names_the_nearest(write: Write, small: str) -> None:
    charter = load_charter(write(small))
    assert charter.clause("tone.plain").kind == "tone"
    with pytest.raises(UserError, match=r'Did you mean "harm.violence"\?'):
        charter.clause("harm.violense")


OVERRIDE = "overrides: [{when: {locale: de}, clauses: [{id: tone.plain, rule: x, frameworks: {atlas: [AML.T0054]}}]}]\n"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_slip_of_the_hand_is_read_or_explained(write: Write, small: str, data: st.DataObject) -> None:
    text = small + OVERRIDE
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        put = data.draw(
            st.sampled_from(
                ["", " ", "\n", ":", "- ", "x", "[", "}", "'", "#", "&a ", "*a", "1", "null", "\t", "!!set "]
            )
        )
        text = text[:start] + put + text[end:]
    path = write(text)
    explanation = None
    try:
        assert load_charter(path).clauses
    except UserError as error:
        explanation = str(error)
    if explanation is not None:
        assert explanation.startswith(str(path))
        found = re.match(r", line (\d+): ", explanation[len(str(path)) :])
        if found:
            assert 1 <= int(found[1]) <= text.count("\n") + 1
        assert "\n" not in explanation
