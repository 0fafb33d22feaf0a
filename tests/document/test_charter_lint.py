"""Lint and diff: controls that are missing, names that do not exist, evidence that no longer stands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from charter.document import Charter, Evidence, compare_charters, compare_variants, lint, lint_variants, load_charter

Write = Callable[..., Path]
SUITES = ("harmful_requests", "harmful_requests/weapons", "harmful_requests/drugs", "knowledge")


def one_clause(write: Write, body: str) -> Charter:
    text = f'charter: 1\nname: x\nversion: "1"\nclauses:\n  - {{id: a, kind: must, rule: r, severity: high{body}}}\n'
    return load_charter(write(text))


FOUR = ((False, True),) * 4


@pytest.mark.parametrize(("train", "test", "guard", "watch"), list(product(*FOUR)))
def test_missing_controls(write: Write, train: bool, test: bool, guard: bool, watch: bool) -> None:
    parts = {
        "train": ", train: [pairs]" if train else "",
        "test": ", test: [knowledge]" if test else "",
        "guard": ", guard: [pii]" if guard else "",
        "watch": ", watch: [canary]" if watch else "",
    }
    charter = one_clause(write, "".join(parts.values()))
    findings = lint(charter, suites=SUITES, layers=["pii"], watches=["canary"])
    absent = tuple(name for name, part in parts.items() if not part)
    if not absent:
        assert findings == []
        return
    (finding,) = findings
    assert (finding.clause, finding.severity, finding.missing) == ("a", "high", absent)
    assert finding.place.endswith("charter.yaml, line 5")
    # Design: a clause that nothing tests is an undefined control, whatever else it has.
    assert finding.code == ("gap" if test else "undefined-control")
    assert finding.level == ("note" if test else "warning")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (", test: [harmful_request]", 'Did you mean "harmful_requests"?'),
        (", test: [harmful_requests/wepons]", 'Did you mean "harmful_requests/weapons"?'),
        (", test: [knowledge/history]", "no slices"),
        (", guard: [pii]", 'guard layer "pii"'),
        (", watch: [canary]", 'watch rule "canary"'),
    ],
)
def test_a_name_that_does_not_exist_is_an_error_and_counts_for_nothing(write: Write, body: str, says: str) -> None:
    findings = lint(one_clause(write, body), suites=SUITES)
    assert [f.code for f in findings] == ["unknown-name", "undefined-control"]
    assert says in findings[0].message
    assert findings[1].missing == ("train", "test", "guard", "watch")


def test_worst_first(write: Write, small: str) -> None:
    text = small.replace("test: [harmful_requests]", "test: [nothing]")
    findings = lint(load_charter(write(text)), suites=SUITES)
    assert [(f.level, f.severity) for f in findings] == [("error", "high"), ("warning", "high"), ("warning", "medium")]


def evidence_for(charter: Charter, *ids: str) -> Evidence:
    return Evidence(
        metric="harmful_refused",
        clauses={id: charter.clause(id).digest for id in ids},
        suite="harmful_requests",
        suite_digest="s1",
        model_digest="m1",
        time="2026-11-21T09:00:00Z",
    )


def stale(charter: Charter, item: Evidence, **now: object) -> list[str]:
    found = lint(charter, **{"suites": SUITES, **now}, evidence=[item])  # type: ignore[arg-type]
    return [f.message for f in found if f.code == "stale-evidence"]


def test_stale_evidence(write: Write, small: str) -> None:
    charter = load_charter(write(small))
    item = evidence_for(charter, "harm.violence")
    assert stale(charter, item) == []
    assert stale(charter, item, suite_digests={"harmful_requests": "s1"}, model_digest="m1") == []
    assert "suite harmful_requests has changed" in stale(charter, item, suite_digests={"harmful_requests": "s2"})[0]
    assert "another model" in stale(charter, item, model_digest="m2")[0]
    assert "no longer exists" in stale(charter, item, suites=["knowledge"])[0]

    other_clause = load_charter(write(small.replace("Write plainly.", "Write gaily.")))
    assert stale(other_clause, item) == []
    changed = load_charter(write(small.replace("hurt people.", "hurt anyone.")))
    assert "clause harm.violence has changed" in stale(changed, item)[0]
    renamed = load_charter(write(small.replace("id: harm.violence", "id: harm.force")))
    assert "no longer in the charter" in stale(renamed, item)[0]


def test_an_override_with_a_wrong_name_is_found_without_asking_for_it(write: Write, small: str) -> None:
    text = small + "overrides: [{when: {locale: de}, clauses: [{id: harm.violence, test: [harmfull]}]}]\n"
    charter = load_charter(write(text))
    assert "unknown-name" not in [f.code for f in lint(charter, suites=SUITES)]
    found = lint_variants(charter, suites=SUITES)
    assert [(str(when), f.code, f.clause) for when, f in found] == [
        ("locale de", "unknown-name", "harm.violence"),
        ("locale de", "undefined-control", "harm.violence"),
    ]


def test_diff(write: Write, small: str) -> None:
    old = load_charter(write(small, "old.yaml"))
    text = small.replace("hurt people.", "hurt anyone.").replace("id: tone.plain", "id: tone.brief")
    new = load_charter(write(text, "new.yaml"))
    item = evidence_for(old, "harm.violence")
    knowledge = Evidence(metric="knowledge", clauses={})
    found = compare_charters(old, new, [item, knowledge])
    assert (found.added, found.removed, found.reordered) == (("tone.brief",), ("tone.plain",), False)
    (change,) = found.changed
    assert change.id == "harm.violence"
    assert [(f.field, f.old, f.new) for f in change.fields] == [
        ("rule", "Do not help anyone hurt people.", "Do not help anyone hurt anyone.")
    ]
    assert found.suites == ("harmful_requests",)
    assert [f.metric for f in found.fallen] == ["harmful_refused"]


def test_diff_with_itself_is_empty_and_diff_is_antisymmetric(write: Write, small: str) -> None:
    old = load_charter(write(small, "old.yaml"))
    new = load_charter(write(small + "  - {id: b, kind: must, rule: r}\n", "new.yaml"))
    assert not compare_charters(old, old)
    assert compare_charters(old, new).added == compare_charters(new, old).removed == ("b",)


def test_diff_sees_the_order(write: Write, small: str) -> None:
    head, rest = small.split("clauses:\n")
    first, second = rest.split("  - id: tone.plain")
    swapped = write(f"{head}clauses:\n  - id: tone.plain{second}{first}", "new.yaml")
    found = compare_charters(load_charter(write(small, "old.yaml")), load_charter(swapped))
    assert found.reordered
    assert not found.changed


def test_diff_of_overrides(write: Write, small: str) -> None:
    override = "overrides: [{{when: {{locale: de}}, clauses: [{{id: harm.violence, rule: {}}}]}}]\n"
    old = load_charter(write(small + override.format("Nein."), "old.yaml"))
    new = load_charter(write(small + override.format("Niemals."), "new.yaml"))
    assert not compare_charters(old, new)
    ((when, difference),) = compare_variants(old, new)
    assert str(when) == "locale de"
    assert difference.changed[0].fields[0].new == "Niemals."
    assert compare_variants(old, old) == []
