"""`extends` and `overrides`: what wins, what is refused, and digests that depend on content alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charter.document import Charter, load_charter
from charter.errors import UserError

Write = Callable[..., Path]

HEAD = 'charter: 1\nname: child\nversion: "2"\n'


def test_child_changes_adds_and_removes(write: Write, small: str) -> None:
    write(small, "base/base.yaml")
    path = write(
        HEAD
        + """\
extends: base/base.yaml
clauses:
  - {id: harm.violence, rule: Never help anyone hurt people., train: []}
  - {id: tone.plain, remove: true}
  - {id: scope.topics, kind: scope, rule: Cooking only.}
"""
    )
    charter = load_charter(path)
    assert [c.id for c in charter.clauses] == ["harm.violence", "scope.topics"]
    changed = charter.clause("harm.violence")
    assert (changed.rule, changed.train, changed.severity) == ("Never help anyone hurt people.", (), "high")
    assert charter.places["harm.violence"] == f"{path}, line 6"
    assert (charter.name, charter.version) == ("child", "2")


def test_a_chain_of_three_takes_the_nearest(write: Write, small: str) -> None:
    write(small, "a.yaml")
    write(HEAD + "extends: a.yaml\nclauses: [{id: tone.plain, rule: two}]\n", "b.yaml")
    path = write(HEAD + "extends: b.yaml\nclauses: [{id: tone.plain, severity: low}]\n", "c.yaml")
    clause = load_charter(path).clause("tone.plain")
    assert (clause.rule, clause.severity, clause.kind) == ("two", "low", "tone")


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_a_cycle_is_refused_with_its_line(write: Write, names: list[str]) -> None:
    for name, base in zip(names, [*names[1:], names[0]], strict=True):
        write(HEAD + f"extends: {base}.yaml\n", f"{name}.yaml")
    with pytest.raises(UserError, match=r"line 4: the files extend each other in a circle \(a.yaml -> .*a.yaml\)"):
        load_charter(write(HEAD + f"extends: {[*names, 'a'][1]}.yaml\n", "a.yaml"))


def test_missing_base_names_the_line_and_the_nearest_file(write: Write, small: str) -> None:
    write(small, "company.yaml")
    path = write(HEAD + "extends: compny.yaml\n")
    with pytest.raises(UserError) as caught:
        load_charter(path)
    assert str(caught.value).startswith(f"{path}, line 4: ")
    assert 'Did you mean "company.yaml"?' in str(caught.value)


def test_a_mistake_in_the_base_names_the_base(write: Write, small: str) -> None:
    base = write(small.replace("kind: tone", "kind: tune"), "base.yaml")
    with pytest.raises(UserError) as caught:
        load_charter(write(HEAD + "extends: base.yaml\n"))
    assert str(caught.value).startswith(f"{base}, line 12: ")


OVERRIDES = """\
overrides:
  - when: {locale: de}
    clauses:
      - {id: tone.plain, rule: Schreibe schlicht.}
      - {id: imprint, kind: must, rule: Nenne das Impressum.}
  - when: {locale: de-AT, audience: children}
    clauses:
      - {id: tone.plain, severity: high}
      - {id: imprint, remove: true}
"""


@pytest.mark.parametrize(
    ("locale", "audience", "rule", "severity", "imprint"),
    [
        (None, None, "Write plainly.", "medium", False),
        ("en-GB", None, "Write plainly.", "medium", False),
        ("den", None, "Write plainly.", "medium", False),
        ("de", None, "Schreibe schlicht.", "medium", True),
        ("DE_at", None, "Schreibe schlicht.", "medium", True),
        (None, "children", "Write plainly.", "medium", False),
        ("de-DE", "children", "Schreibe schlicht.", "medium", True),
        ("de-AT", "Children", "Schreibe schlicht.", "high", False),
    ],
)
def test_overrides(
    write: Write, small: str, locale: str | None, audience: str | None, rule: str, severity: str, imprint: bool
) -> None:
    charter = load_charter(write(small + OVERRIDES), locale=locale, audience=audience)
    clause = charter.clause("tone.plain")
    assert (clause.rule, clause.severity) == (rule, severity)
    assert ("imprint" in [c.id for c in charter.clauses]) is imprint


def test_an_incomplete_new_clause_in_an_override_is_refused_even_when_it_does_not_apply(
    write: Write, small: str
) -> None:
    path = write(small + "overrides:\n  - when: {locale: de}\n    clauses:\n      - {id: tone.plane, rule: x}\n")
    with pytest.raises(UserError) as caught:
        load_charter(path)
    assert str(caught.value).startswith(f"{path}, line 17: ")
    assert "`kind:`" in str(caught.value)
    assert 'Did you mean "tone.plain"?' in str(caught.value)


def test_changing_what_only_another_override_adds_is_refused(write: Write, small: str) -> None:
    text = small + OVERRIDES + "  - when: {jurisdiction: EU}\n    clauses: [{id: imprint, severity: low}]\n"
    path = write(text)
    assert load_charter(path, locale="de", jurisdiction="eu").clause("imprint").severity == "low"
    with pytest.raises(UserError, match="not there for jurisdiction EU"):
        load_charter(path, jurisdiction="EU")


def test_an_optional_text_can_be_cleared(write: Write, small: str) -> None:
    text = small.replace("rule: Write plainly.", "rule: Write plainly.\n    instead: Use short words.")
    path = write(text + "overrides: [{when: {audience: experts}, clauses: [{id: tone.plain, instead: }]}]\n")
    assert load_charter(path).clause("tone.plain").instead == "Use short words."
    assert load_charter(path, audience="experts").clause("tone.plain").instead is None


def test_digest_ignores_comments_layout_and_path_only(write: Write, small: str) -> None:
    charter = load_charter(write(small))
    rewritten = yaml.safe_dump({**yaml.safe_load(small)}, sort_keys=True, default_flow_style=True)
    other = load_charter(write("# a comment\n" + rewritten, "elsewhere/other.yml"))
    assert other.digest == charter.digest
    assert [c.digest for c in other.clauses] == [c.digest for c in charter.clauses]
    spelled = load_charter(write(small.replace("rule: Write plainly.", "rule: Write plainly.\n    severity: medium")))
    assert spelled.digest == charter.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rule: Write plainly.", "rule: Write very plainly."),
        ("kind: tone", "kind: must"),
        ("rule: Write plainly.", "rule: Write plainly.\n    instead: x"),
        ("rule: Write plainly.", "rule: Write plainly.\n    opposite: x"),
        ("rule: Write plainly.", "rule: Write plainly.\n    topics: [x]"),
        ("rule: Write plainly.", "rule: Write plainly.\n    guard: [scope]"),
        ("rule: Write plainly.", "rule: Write plainly.\n    frameworks: {eu_ai_act: [15]}"),
    ],
)
def test_digest_changes_with_content_and_only_where_it_changed(write: Write, small: str, old: str, new: str) -> None:
    before = load_charter(write(small))
    after = load_charter(write(small.replace(old, new)))
    assert before.digest != after.digest
    assert before.clause("tone.plain").digest != after.clause("tone.plain").digest
    assert before.clause("harm.violence").digest == after.clause("harm.violence").digest


def test_a_charter_split_over_two_files_has_the_digest_of_the_whole(write: Write, small: str) -> None:
    whole = load_charter(write(small))
    head, clauses = small.split("clauses:\n")
    first, second = clauses.split("  - id: tone.plain")
    write(head + "clauses:\n" + first, "base.yaml")
    split = load_charter(write(head + "extends: base.yaml\nclauses:\n  - id: tone.plain" + second, "split.yaml"))
    assert split.digest == whole.digest


_text = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
_clause = st.fixed_dictionaries(
    {"kind": st.sampled_from(["must", "must_not", "scope", "tone", "person"]), "rule": _text},
    optional={
        "instead": _text,
        "severity": st.sampled_from(["low", "medium", "high"]),
        "topics": st.lists(_text, max_size=3),
        "train": st.lists(st.sampled_from(["pairs", "contrast"]), max_size=2),
    },
)


def _load(folder: Path, rows: dict[str, dict[str, object]]) -> Charter:
    data = {"charter": 1, "name": "x", "version": "1", "clauses": [{"id": id, **row} for id, row in rows.items()]}
    path = folder / "charter.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return load_charter(path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.dictionaries(st.from_regex(r"[a-z0-9]{1,4}([.-][a-z]{1,3})?", fullmatch=True), _clause, min_size=1))
def test_what_is_written_is_what_is_read(tmp_path: Path, rows: dict[str, dict[str, object]]) -> None:
    charter = _load(tmp_path, rows)
    assert [c.id for c in charter.clauses] == list(rows)
    for clause in charter.clauses:
        read = clause.model_dump(mode="json")
        for key, value in rows[clause.id].items():
            assert read[key] == value
    assert _load(tmp_path, rows).digest == charter.digest
