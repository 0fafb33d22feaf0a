"""Replay a stream against a frozen reference: every detector over every row, with one false-alarm rate for the whole.

`Settings.alpha` is the chance that a whole replay raises any alarm at all when nothing has changed, that is, when the
stream's rows and the reference's are exchangeable. It is spent in fixed parts: DRIFT_PART over the windows, evenly;
STREAM_PART over the series and their three detectors; BURST_PART over the kinds of bursts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from charter.errors import UserError
from charter.guard.verdicts import STOP_AT
from charter.watch.bursts import find_bursts
from charter.watch.columns import DEFAULT_DELTA, Columns, columns_of
from charter.watch.drift import MAX_SIDE, Drifted, Side, window_drift
from charter.watch.duplicates import alike_by_meaning, alike_by_words, clusters
from charter.watch.measures import Singles
from charter.watch.streaming import Streamed, detect
from charter.watch.traffic import Floats, Traffic

DRIFT_PART: Final = 0.4
STREAM_PART: Final = 0.3
BURST_PART: Final = 0.3
FEWEST_REFERENCE: Final = 50
REFERENCE_ROWS: Final = 1000
"""Rows of the reference that a window is compared with, or four windows' worth: more would sharpen little."""
SHOWN_ROWS: Final = 30
"""Row ids in an alarm's evidence; their full number stands beside them."""

Embedded = Mapping[str, tuple[npt.NDArray[np.bool_], Singles]]
"""Name of the text to (which rows have an embedding, shape (N,); embeddings of length one, (N, D))."""
Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@dataclass(frozen=True)
class Settings:
    """How a stream is replayed.

    alpha: chance of any alarm in the whole replay when nothing changed.  window: rows of a drift window.
    threshold: of the score.  delta: what counts as near it.
    """

    alpha: float = 0.05
    window: int = 200
    threshold: float = STOP_AT
    delta: float = DEFAULT_DELTA
    seed: int = 0


@dataclass(frozen=True)
class Alarm:
    """Something changed. row: the stream's row at which it is known.  kind: drift, cusum, page-hinkley, adwin, burst,
    caller burst or repeated."""

    row: int
    time: Any
    kind: str
    clause: str | None
    statistic: float
    threshold: float
    evidence: Mapping[str, Any]

    def as_row(self) -> dict[str, Any]:
        """As `charter watch replay` writes it."""
        return {
            "time": self.time, "kind": self.kind, "clause": self.clause, "statistic": self.statistic,
            "threshold": self.threshold, "evidence": dict(self.evidence),
        }  # fmt: skip


def windows(length: int, size: int) -> list[tuple[int, int]]:
    """(first row, end) of windows of `size` rows; a rest of less than half of that joins the last window."""
    starts = list(range(0, length, size))
    if len(starts) > 1 and length - starts[-1] < (size + 1) // 2:
        starts.pop()
    return list(zip(starts, [*starts[1:], length], strict=True)) if length else []


def replay(
    reference: Traffic,
    stream: Traffic,
    embedded: tuple[Embedded, Embedded],
    settings: Settings,
    progress: Progress = lambda *_: None,
) -> tuple[list[Alarm], list[str]]:
    """(alarms in the order of the stream, notes on what could not be computed and what was assumed).

    embedded: of the reference and of the stream.  Raises UserError for a reference too small to compare with.
    """
    if len(reference) < FEWEST_REFERENCE:
        raise UserError(
            f"The reference has {len(reference)} rows; fewer than {FEWEST_REFERENCE} say too little about what is "
            "normal. Give a longer one."
        )
    if not len(stream):
        return [], ["The stream has no rows."]
    ours, theirs, notes = columns_of(reference, stream, settings.threshold, settings.delta)
    alarms = [
        *_drift((len(reference), len(stream)), stream, (ours, theirs), embedded, settings, notes, progress),
        *_streaming(stream, ours, theirs, settings, progress),
        *_bursts(reference, stream, embedded, settings, notes, progress),
    ]
    return sorted(alarms, key=lambda alarm: (alarm.row, alarm.kind)), notes


def _drift(
    lengths: tuple[int, int], stream: Traffic, columns: tuple[Columns, Columns], embedded: tuple[Embedded, Embedded],
    settings: Settings, notes: list[str], progress: Progress,
) -> list[Alarm]:  # fmt: skip
    names = [name for name in embedded[0] if name in embedded[1] and all(side[name][0].any() for side in embedded)]
    sides = [
        Side(table, count, {name: vectors[name] for name in names})
        for table, count, vectors in zip(columns, lengths, embedded, strict=True)
    ]
    most = min(MAX_SIDE, max(REFERENCE_ROWS, 4 * settings.window))
    reference, live = _sampled(sides[0], most, settings.seed), sides[1]
    if reference.size < lengths[0]:
        notes.append(
            f"Drift windows are compared with {reference.size} of the reference's {lengths[0]} rows, drawn at random."
        )
    spans = windows(len(stream), settings.window)
    alpha = settings.alpha * DRIFT_PART / len(spans)
    alarms = []
    for number, (first, end) in enumerate(spans):
        window = _sampled(live.rows(np.arange(first, end)), MAX_SIDE, settings.seed)
        for found in window_drift(reference, window, alpha, _seed(settings.seed, f"window {number}")):
            evidence = _drift_evidence(found, stream, sides, reference.size, (first, end))
            alarms.append(
                Alarm(end - 1, stream.times[end - 1], "drift", found.measure.clause, found.statistic, found.threshold,
                      evidence)
            )  # fmt: skip
        progress("drift", end, len(stream))
    return alarms


def _streaming(
    stream: Traffic, reference: Columns, live: Columns, settings: Settings, progress: Progress
) -> list[Alarm]:
    every = {
        name: (table[name], other[name])
        for table, other in ((reference.numbers, live.numbers), (reference.shares, live.shares))
        for name in other
    }
    # What never varies on either side cannot alarm, and would take its share of the false alarms from the others.
    series = {name: pair for name, pair in every.items() if np.unique(np.concatenate(pair), equal_nan=True).size > 1}
    alarms = []
    for number, (name, (known, values)) in enumerate(series.items()):
        alpha = settings.alpha * STREAM_PART / len(series)
        for found in detect(known, values, len(stream), alpha, _seed(settings.seed, name)):
            clause = live.clause_of.get(name)
            evidence = _stream_evidence(found, name, stream, values)
            alarms.append(
                Alarm(found.row, stream.times[found.row], found.detector, clause, found.statistic, found.threshold,
                      evidence)
            )  # fmt: skip
        progress("streams", number + 1, len(series))
    return alarms


def _bursts(
    reference: Traffic, stream: Traffic, embedded: tuple[Embedded, Embedded], settings: Settings, notes: list[str],
    progress: Progress,
) -> list[Alarm]:  # fmt: skip
    texts = [*reference.prompts, *stream.prompts]
    if all(text is None or not text.strip() for text in stream.prompts):
        notes.append("Bursts: could not be looked for, since the stream has no prompts.")
        return []
    kept = [place for place, text in enumerate(texts) if text is not None and text.strip()]
    pairs = [(kept[a], kept[b]) for a, b in alike_by_words([texts[place] or "" for place in kept])]
    if all("prompt" in side for side in embedded):
        has = np.concatenate([side["prompt"][0] for side in embedded])
        rows = np.flatnonzero(has)
        vectors = np.concatenate([side["prompt"][1] for side in embedded])[rows]
        pairs += alike_by_meaning(rows, vectors, lambda done: progress("bursts", done, len(rows)))
    else:
        notes.append("Bursts: near-duplicates are found by words alone, since prompts have no embeddings.")
    callers = [*reference.callers, *stream.callers]
    if not any(stream.callers):
        notes.append("Bursts of one caller: could not be looked for, since no row of the stream names its caller.")
    groups = clusters(texts, pairs)
    seed = _seed(settings.seed, "bursts")
    alarms = []
    for found in find_bursts(groups, callers, len(reference), settings.alpha * BURST_PART, seed):
        rows_found = [int(row) for row in found.rows]
        named = [clause for row in rows_found for clause in stream.clauses[row] or ()]
        clause = max(sorted(set(named)), key=named.count) if named else None
        evidence = {
            "of": "prompts", "near_duplicates": len(rows_found), "caller": found.caller,
            "callers": len({stream.callers[row] for row in rows_found} - {None}),
            "span": rows_found[-1] - rows_found[0] + 1, "rows": _ids(stream, rows_found),
        }  # fmt: skip
        last = rows_found[-1]
        alarms.append(Alarm(last, stream.times[last], found.kind, clause, found.statistic, found.threshold, evidence))
    return alarms


def _sampled(side: Side, most: int, seed: int) -> Side:
    if side.size <= most:
        return side
    rng = np.random.default_rng(_seed(seed, "sample"))
    return side.rows(np.sort(rng.choice(side.size, most, replace=False)))


def _seed(seed: int, what: str) -> int:
    return (seed * 1_000_003 + zlib.crc32(what.encode())) % (1 << 63)


def _ids(stream: Traffic, rows: Sequence[int]) -> list[Any]:
    return [stream.ids[row] for row in rows[:SHOWN_ROWS]]


def _drift_evidence(
    found: Drifted, stream: Traffic, sides: Sequence[Side], compared: int, span: tuple[int, int]
) -> dict[str, Any]:
    first, end = span
    of = found.measure.of
    before, after, rows = None, None, list(range(first, end))
    table, live = sides[0].columns, sides[1].columns
    if of in table.numbers or of in table.shares:
        flags = of in table.shares
        values = (live.shares if flags else live.numbers)[of][first:end]
        before, after = _mean((table.shares if flags else table.numbers)[of]), _mean(values)
        up = (after or 0.0) >= (before or 0.0)
        order = np.argsort(np.nan_to_num(-values if up else values, nan=np.inf), kind="stable")
        rows = [first + int(row) for row in order]
        if flags:
            rows = [row for row in rows if values[row - first] == float(up)]
    if of in sides[1].embedded:
        rows = _farthest(sides, of, span)
    return {
        "measure": found.measure.name, "of": of, "sigmas": round(found.sigmas, 2),
        "window": {"first": stream.ids[first], "last": stream.ids[end - 1], "rows": end - first},
        "reference_rows": compared, "reference_mean": before, "window_mean": after, "rows": _ids(stream, rows),
    }  # fmt: skip


def _farthest(sides: Sequence[Side], of: str, span: tuple[int, int]) -> list[int]:
    """Rows of the window, those least like the reference's mean first."""
    has, vectors = sides[0].embedded[of]
    mean_D = vectors[has].mean(axis=0)
    live_has, live = sides[1].embedded[of]
    rows = [row for row in range(*span) if live_has[row]]
    return [rows[i] for i in np.argsort(live[rows] @ mean_D, kind="stable").tolist()]


def _stream_evidence(found: Streamed, name: str, stream: Traffic, values: Floats) -> dict[str, Any]:
    span = range(found.since, found.row + 1)
    sign = -1.0 if found.direction == "up" else 1.0
    ranked = sorted((row for row in span if not np.isnan(values[row])), key=lambda row: sign * values[row])
    if name not in ("score",) and set(np.unique(values[~np.isnan(values)])) <= {0.0, 1.0}:
        ranked = [row for row in ranked if values[row] == (1.0 if sign < 0 else 0.0)]
    return {
        "of": name, "direction": found.direction, "since": stream.ids[found.since], "at": stream.ids[found.row],
        "span": len(span), "rows": _ids(stream, ranked),
    }  # fmt: skip


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
