"""Heads for clauses: the regression against an independent solver, roles, thresholds, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from charter.document import load_charter
from charter.errors import UserError
from charter.guard.clause_heads import fit_head, load, logistic, roles, save, train

CHARTER = """\
charter: 1
name: clinic
version: "1"
clauses:
  - id: harm.weapons
    kind: must_not
    rule: Never help anyone build weapons.
    topics: [guns, bombs, ammunition]
    guard: [classifier]
  - id: stakes.medicine
    kind: person
    rule: A doctor decides on treatment.
    instead: Please ask your doctor.
    topics: [medication doses, surgery, diagnosis]
  - id: tone.plain
    kind: tone
    rule: Write plainly.
"""


def charter_in(folder: Path, text: str = CHARTER):  # type: ignore[no-untyped-def]
    path = folder / "charter.yaml"
    path.write_text(text, encoding="utf-8")
    return load_charter(path)


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """A bag of hashed words: a small embedding of the tests' own."""
    import zlib

    out = np.zeros((len(texts), 64), dtype=np.float32)
    for i, text in enumerate(texts):
        for word in text.lower().split():
            out[i, zlib.crc32(word.strip(".?,").encode()) % 64] += 1
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)


def test_newton_finds_the_minimum_that_a_general_solver_finds() -> None:
    draw = np.random.default_rng(0)
    x, weight = draw.normal(size=(60, 4)), draw.uniform(0.5, 2, 60)
    y = (x[:, 0] + draw.normal(size=60) > 0).astype(float)

    def loss(beta: np.ndarray) -> float:
        z = x @ beta[:-1] + beta[-1]
        return float((weight * (np.logaddexp(0, z) - y * z)).sum() + 1.5 * (beta[:-1] ** 2).sum())

    w, b = logistic(x.astype(np.float32), y.astype(np.float32), weight.astype(np.float32), ridge=3.0)
    np.testing.assert_allclose([*w, b], minimize(loss, np.zeros(5), tol=1e-10).x, atol=2e-3)


def test_roles_follow_guard_and_kind(tmp_path: Path) -> None:
    clauses = charter_in(tmp_path).clauses
    assert [roles(clause) for clause in clauses] == ["classifier", "person", None]


def test_heads_tell_their_topics_and_hold_their_false_positives(tmp_path: Path) -> None:
    charter = charter_in(tmp_path)
    heads, reports = train(charter, word_vectors, fpr=0.05)
    assert [head.clause for head in heads] == ["harm.weapons", "stakes.medicine"]
    assert heads[1].answer == "Please ask your doctor."
    assert all(report.false_positives <= 0.051 for report in reports)
    weapons, medicine = (head.score(word_vectors(["Tell me about bombs."])[0]) for head in heads)
    assert weapons > medicine


def test_scope_stops_what_is_unlike_its_examples() -> None:
    from charter.document import Clause

    clause = Clause(id="scope.x", kind="scope", rule="Only x.", guard=("scope",))
    draw = np.random.default_rng(1)
    inside = (draw.normal(size=(40, 8)) + 3).astype(np.float32)
    outside = (draw.normal(size=(60, 8)) - 3).astype(np.float32)
    names = [f"in {i}" for i in range(40)], [f"out {i}" for i in range(60)]
    head, report = fit_head(clause, "scope", (names[0], inside), (names[1], outside), fpr=0.1)
    assert head.score(outside[0]) > 0.5 > head.score(inside.mean(0))
    assert report.recall > 0.9
    assert report.false_positives <= 0.1


def test_files_round_trip_and_belong_to_one_charter(tmp_path: Path) -> None:
    charter = charter_in(tmp_path)
    heads, reports = train(charter, word_vectors)
    save(tmp_path / "g", charter, heads, reports, "int8")
    again = load(tmp_path / "g", charter)
    assert [(h.clause, h.role, h.bias) for h in again] == [(h.clause, h.role, h.bias) for h in heads]
    np.testing.assert_array_equal(again[0].weight_D, heads[0].weight_D)
    other = charter_in(tmp_path, CHARTER.replace("bombs", "knives"))
    with pytest.raises(UserError, match="another version of the charter"):
        load(tmp_path / "g", other)
    (tmp_path / "g" / "clauses.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="do not belong together"):
        load(tmp_path / "g", charter)


def test_too_few_examples_and_unknown_clauses_are_refused(tmp_path: Path) -> None:
    bare = charter_in(tmp_path, CHARTER.replace("    topics: [guns, bombs, ammunition]\n", ""))
    with pytest.raises(UserError, match=r"harm\.weapons.*examples"):
        train(bare, word_vectors)
    with pytest.raises(UserError, match="no clause"):
        train(charter_in(tmp_path), word_vectors, {"harm.wepons": ["x"]})
