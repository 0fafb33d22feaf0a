"""Everything together: no alarm without a change at the stated rate, the attack found, absent fields said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from guard_rows import guard_rows, traffic
from scipy.stats import binom

from charter.errors import UserError
from charter.watch.columns import columns_of
from charter.watch.embedded import embed_sides
from charter.watch.replay import Settings, replay, windows

NONE = ({}, {})


@pytest.mark.parametrize(("n", "runs"), [(100, 30), pytest.param(500, 25, marks=pytest.mark.slow)])
def test_a_whole_replay_without_change_raises_any_alarm_at_most_so_often(n: int, runs: int) -> None:
    alpha, alarms = 0.05, 0
    for seed in range(runs):
        sides = traffic(guard_rows(300, 2 * seed)), traffic(guard_rows(n, 2 * seed + 1))
        alarms += bool(replay(*sides, NONE, Settings(alpha=alpha, window=100, seed=seed))[0])
    assert alarms <= binom.ppf(0.999, runs, alpha)


def test_a_tenth_of_probes_is_found_within_300_rows_and_nothing_before() -> None:
    for seed in range(3):
        stream = guard_rows(200, 100 + seed) + guard_rows(300, 200 + seed, mixture=0.1)
        alarms, _ = replay(traffic(guard_rows(600, seed)), traffic(stream), NONE, Settings(seed=seed))
        assert alarms
        assert all(alarm.row >= 200 for alarm in alarms)
        assert alarms[0].row < 500
        assert {"harm.crime"} <= {alarm.clause for alarm in alarms}
        listed = alarms[0].evidence["rows"]
        assert listed
        known = {row["id"] for row in stream}
        assert set(listed) <= known


def test_scores_that_creep_to_the_threshold_are_found() -> None:
    stream = guard_rows(600, 5)
    for n, row in enumerate(stream):
        row["score"] = min(0.49, row["score"] + 0.3 * n / 600)
        row["verdict"], row["clauses"] = "allow", []
        row["layers"] = []
    alarms, _ = replay(traffic(guard_rows(600, 6)), traffic(stream), NONE, Settings())
    assert {"score", "near the threshold"} <= {alarm.evidence["of"] for alarm in alarms}


def test_absent_fields_are_said_and_the_rest_is_watched() -> None:
    bare = [{"id": row["id"], "score": row["score"]} for row in guard_rows(200, 0)]
    live = [{"id": row["id"], "score": row["score"]} for row in guard_rows(150, 1, mixture=0.5)]
    live[3] = {"id": "odd", "unscored": "too long", "score": None}
    alarms, notes = replay(traffic(bare), traffic(live), NONE, Settings(window=50))
    assert {alarm.evidence["of"] for alarm in alarms} <= {"score", "near the threshold"}
    assert any(alarm.kind == "cusum" for alarm in alarms)
    assert alarms[0].time is None
    said = " ".join(notes)
    for word in (
        "prompt length",
        "completion length",
        "stopped",
        "refused",
        "languages",
        "verdicts",
        "clauses",
        "Bursts",
    ):
        assert word in said
    assert "1 of 150 rows of the stream" in said


def test_rows_that_say_nothing_raise_nothing() -> None:
    mute = [{"id": n} for n in range(60)]
    alarms, notes = replay(traffic(mute), traffic(mute), NONE, Settings())
    assert alarms == []
    assert sum("could not be" in note for note in notes) >= 9


def test_a_series_that_one_side_lacks_is_said_once_and_skipped() -> None:
    reference, live = guard_rows(100, 0), guard_rows(100, 1)
    for row in live:
        del row["completion"]
    ours, theirs, notes = columns_of(traffic(reference), traffic(live))
    assert "completion length" not in ours.numbers
    assert "refused" not in theirs.shares
    assert sum(note.startswith("completion length: could not be computed") for note in notes) == 1


def test_layers_that_fail_are_seen_where_the_verdict_does_not_show_it() -> None:
    stream = guard_rows(400, 1)
    for row in stream[200::4]:
        row["layers"].append({"name": "pii", "status": "failed", "verdict": "allow", "score": None, "ms": 0.1})
    alarms, _ = replay(traffic(guard_rows(400, 2)), traffic(stream), NONE, Settings())
    assert {alarm.evidence["of"] for alarm in alarms} == {"failed"}


def test_series_that_never_vary_cost_nothing() -> None:
    sides = [guard_rows(300, 0), guard_rows(200, 1, mixture=0.3)]
    plain = [replay(traffic(sides[0]), traffic(sides[1]), NONE, Settings())[0]]
    for row in (*sides[0], *sides[1]):
        row["layers"] += [{"name": f"flat{n}", "score": 0.0} for n in range(5)]
    plain.append(replay(traffic(sides[0]), traffic(sides[1]), NONE, Settings())[0])
    first, second = ([(a.row, a.threshold) for a in alarms if a.kind == "cusum"] for alarms in plain)
    assert first
    assert first == second


def test_near_the_threshold_means_within_delta_of_it() -> None:
    rows = [{"id": n, "score": score} for n, score in enumerate((0.29, 0.3, 0.4, 0.5, 0.51, 0.6))]
    ours, _, _ = columns_of(traffic(rows), traffic(rows), threshold=0.4, delta=0.101)
    assert ours.shares["near the threshold"].tolist() == [0, 1, 1, 1, 0, 0]


def test_windows_cover_the_stream_once() -> None:
    for length in (1, 19, 20, 29, 30, 31, 49, 50, 100):
        spans = windows(length, 20)
        assert [first for first, _ in spans[1:]] == [end for _, end in spans[:-1]]
        assert (spans[0][0], spans[-1][1]) == (0, length)
        assert all(10 <= end - first < 30 or len(spans) == 1 for first, end in spans)
    assert windows(0, 20) == []


def test_a_reference_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="fewer than 50"):
        replay(traffic(guard_rows(49, 0)), traffic(guard_rows(10, 1)), NONE, Settings())


def test_stored_embeddings_are_used_and_mixed_lengths_refused() -> None:
    rows = guard_rows(60, 0)
    for n, row in enumerate(rows):
        row["embedding"] = [math.sin(n), math.cos(n), 2.0]
    (ours, _), notes = embed_sides((traffic(rows), traffic(rows)), "prompts")
    assert ours["prompt"][1].shape == (60, 3)
    assert np.linalg.norm(ours["prompt"][1], axis=1) == pytest.approx(1.0)
    assert notes == []
    rows[5]["embedding"] = [1.0]
    with pytest.raises(UserError, match="one model"):
        embed_sides((traffic(rows), traffic(rows)), "prompts")


def test_embeddings_of_texts_are_the_embedders() -> None:
    from charter.models.embedding import embed

    sides = traffic(guard_rows(3, 0)), traffic([*guard_rows(2, 1), {"id": "mute"}])
    (_, theirs), _ = embed_sides(sides, "both")
    has, vectors = theirs["prompt"]
    assert has.tolist() == [True, True, False]
    assert vectors[:2] == pytest.approx(embed([text or "" for text in sides[1].prompts[:2]]).numpy(), abs=2e-2)
    assert not vectors[2].any()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("score", "high", "score"), ("score", 1.5, "score"), ("score", float("nan"), "score"),
        ("verdict", "blocc", 'mean "block"'), ("clauses", "harm", "clauses"), ("layers", [1], "layers"),
        ("prompt", 5, "prompt"), ("completion", [], "completion"), ("embedding", "x", "embedding"),
        ("messages", [{"role": "x"}], "role"),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_kind_names_its_row(field: str, value: object, said: str) -> None:
    rows = guard_rows(3, 0)
    rows[1][field] = value
    with pytest.raises(UserError, match=f"rows, line 2.*{said}"):
        traffic(rows)
