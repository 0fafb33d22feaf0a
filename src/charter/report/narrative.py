"""The paragraphs that are written from the data: the summary at the top and the limits at the bottom."""

from __future__ import annotations

from collections.abc import Iterable

from charter.report.data import ClauseRow, MetricRow, ReportData
from charter.report.words import (
    SMALL,
    UNSEEN,
    base_word,
    duration,
    finite,
    is_aim,
    join,
    judge_for,
    metric_title,
    movement,
    percent,
    points,
    rate,
    rule_for,
    unmoved,
)


def summary(data: ReportData) -> list[str]:
    """Three sentences a manager can read: what was aligned and what it gained, what it cost, how sure that is."""
    whole = data.whole()
    aims = [row for row in whole if is_aim(data, row)]
    costs = [row for row in whole if not is_aim(data, row)]
    verb = "was to be" if data.verdict == "unfinished" else "was"
    first = f"{data.model or 'The model'} {verb} aligned to the charter “{data.charter}” ({_count(data.clauses)})"
    # One sentence names what the gate is about; what is not gated stands in the tables.
    aims = [row for row in aims if rule_for(data, row.name)] or aims
    first += f": {_movements(aims)}{_unseen(data, aims)}." if aims else "; no measure of what it should gain was taken."
    second = f"What it cost: {_movements(costs)}." if costs else "What it cost elsewhere was not measured."
    return [first, second, _confidence(data, whole)]


def _unseen(data: ReportData, aims: list[MetricRow]) -> str:
    """The same on what was not trained on, where the run measured that apart: did the training carry over?"""
    names = {row.name for row in aims}
    rows = [row for row in data.parts() if row.name in names and row.slice == UNSEEN and row.clause is None]
    return "".join(f"; on {UNSEEN} it {movement(row)}" for row in rows if finite(row.candidate) is not None)


def _movements(rows: Iterable[MetricRow]) -> str:
    """Each row's movement in words; those that did not move come last, together and without their intervals."""
    moved, still = [], []
    for row in rows:
        name = _lower(metric_title(row.name))
        if unmoved(row):
            still.append(f"{name} ({rate(row.base)} {base_word(row.name)}, {rate(row.candidate)} after)")
        else:
            moved.append(f"{name} {movement(row)}")
    return "; ".join([*moved, f"{join(still)} did not measurably change"] if still else moved)


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def _count(clauses: tuple[ClauseRow, ...]) -> str:
    return f"{len(clauses)} clause{'' if len(clauses) == 1 else 's'}"


def _confidence(data: ReportData, whole: list[MetricRow]) -> str:
    if data.verdict == "unfinished":
        unfinished = [stage.name for stage in data.stages if stage.status not in ("done", "reused")]
        where = f" (at {join(unfinished)})" if unfinished else ""
        return f"How sure: not at all yet, because the run did not finish{where}; nothing here is a verdict."
    failed, open_ = _gated(data, "regressed"), _gated(data, "inconclusive")
    settle = f"the samples do not settle {open_}" if open_ else ""
    if data.verdict == "pass":
        verdict = "every gated measure stays on the allowed side of its margin over its whole interval"
    elif data.verdict == "regressed":
        gamed = join(watch.stage for watch in data.watches if watch.found["verdict"] == "regressed")
        found = [f"the training gamed its reward ({gamed})"] if gamed else []
        found += [f"the gate failed on {failed}"] if failed else [] if gamed else ["the gate failed"]
        verdict = ", and ".join([*found, settle] if settle else found)
    else:
        unclear = join(watch.stage for watch in data.watches if watch.found["verdict"] == "inconclusive")
        watched = f"the watch for reward hacking does not settle {unclear}" if unclear else ""
        verdict = ", and ".join(filter(None, (settle, watched))) or "the samples do not settle it"
    judges = [judge for row in whole if (judge := judge_for(data, row.name))]
    known = {judge.judge: judge for judge in judges if finite(judge.accuracy) is not None}
    agreement = join(
        f"the judge “{name}” agrees with labels on {rate(j.accuracy)} of {j.n} rows" for name, j in known.items()
    )
    text = f"How sure: {verdict}, with {percent(data.confidence)} intervals on paired answers"
    return f"{text}; {agreement}." if agreement else f"{text}."


def _gated(data: ReportData, verdict: str) -> str:
    """The gated metrics that ended so, in words."""
    return join(_lower(metric_title(rule.metric)) for rule in data.gate if rule.verdict == verdict)


def contradictions(data: ReportData) -> list[str]:
    """Places where the page would say two things at once, so that no reader trusts a pass that is none."""
    if data.verdict != "pass":
        return []
    found = [
        f"the gate's rule for {metric_title(rule.metric)} ended {rule.verdict}"
        for rule in data.gate
        if rule.threshold is not None and rule.verdict not in (None, "pass")
    ]
    found += [
        f"the watch for reward hacking of {watch.stage} ended {watch.found['verdict']}"
        for watch in data.watches
        if watch.found["verdict"] != "pass"
    ]
    return [f"The verdict is pass, but {one}. Do not rely on this run until that is explained." for one in found]


def limits(data: ReportData) -> list[str]:
    """What the numbers cannot show, each sentence from this run's own data."""
    found: list[str] = []
    small = [row for row in data.parts() if row.n < SMALL]
    if small:
        found.append(
            f"{len(small)} of the numbers for single clauses or slices rest on fewer than {SMALL} pairs. "
            "They show where to look; they do not prove a change."
        )
    for row in data.power:
        if finite(row.detectable) is not None:
            found.append(
                f"{metric_title(row.metric)}: with {row.n} samples a true change of "
                f"{points(row.detectable).lstrip('+')} points would be found {percent(row.power)} of the time "
                f"(two-sided test at {row.alpha:g}); smaller changes can be missed. {row.note}".strip()
            )
    found += _judge_limits(data)
    for watch in data.watches:
        seen = [change["n"] for change in watch.found["truths"]]
        if seen:
            found.append(
                f"The watch for reward hacking of {watch.stage} compared {min(seen)} to {max(seen)} prompts a truth. "
                "It finds a fall that most of them share; a small one, or one in what no truth measures, it can miss."
            )
    unscored = sum(row.unscored for row in data.whole())
    if unscored:
        found.append(f"{unscored} rows could not be scored. They are counted, and left out of every rate.")
    untested = [clause.id for clause in data.clauses if not clause.test]
    if untested:
        found.append(f"Nothing tests {join(untested)}: this report says nothing about {_those(untested)}.")
    if data.decoding:
        found.append(
            f"Completions were decoded one way ({data.decoding}). Other temperatures, system prompts and longer "
            "conversations can behave differently."
        )
    if len(data.seeds) and len(set(data.seeds.values())) == 1:
        found.append(
            f"This is one training run with one seed ({next(iter(data.seeds.values()))}). The intervals cover the "
            "choice of samples, not the luck of training; repeat with other seeds to see that."
        )
    found.append(
        "Nobody searched for a wording that gets around the training. Attackers do, and weights "
        "that can be fine-tuned further can be made unsafe again."
    )
    return found


def _those(items: list[str]) -> str:
    return "it" if len(items) == 1 else "them"


def _judge_limits(data: ReportData) -> list[str]:
    found: list[str] = []
    for judge in data.judges:
        accuracy = finite(judge.accuracy)
        if accuracy is None:
            found.append(f"The judge “{judge.judge}” has no measured agreement here; treat its scores as unverified.")
            continue
        found.append(
            f"The judge “{judge.judge}” was wrong on {rate(1 - accuracy)} of the {judge.n} labelled rows"
            f"{f' of {judge.data}' if judge.data else ''}. Its errors reach both sides of a comparison, and the "
            "intervals do not include them."
        )
    return found


def run_time(data: ReportData) -> str:
    """Time of all stages together, reused ones included."""
    known = [seconds for stage in data.stages if (seconds := finite(stage.seconds)) is not None]
    return duration(sum(known)) if known else ""
