"""The watch as an observer: looks when it is due, writes watch.jsonl and watch.json, says what becomes of the training.

A look that watch.jsonl has is not taken again: a training that was killed makes the steps since its checkpoint again,
to the same weights, and what was seen there stands.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.evaluation.hacking.looks import Look, look_from
from charter.evaluation.hacking.measure import Subject, Watched, measure
from charter.evaluation.hacking.verdict import Finding, fits, judged, kl_of, mean, proxy_levels, truth_levels
from charter.ports import PolicyNow
from charter.records import Word, write_jsonl, write_text
from charter.training.watch_settings import WatchSettings

log = logging.getLogger(__name__)
LOOKS, SUMMARY = "watch.jsonl", "watch.json"

__all__ = ["LOOKS", "SUMMARY", "RewardWatch", "Subject", "Watched", "summary"]


class RewardWatch:
    """ports.Observer: the reward-hacking watch of one training, in its folder."""

    def __init__(self, subject: Subject, settings: WatchSettings, folder: Path) -> None:
        self._subject, self._settings, self._folder = subject, settings, folder
        self._looks = {look.step: look for look in _written(folder / LOOKS) if look.identity == subject.identity}

    def due(self, step: int, steps: int) -> bool:
        """When the settings want it."""
        return self._settings.due(step, steps)

    def look(self, policy: PolicyNow) -> Word:
        """Measure, unless that was done, and decide."""
        step, steps = policy.step, policy.steps
        if step not in self._looks:
            look = self._looks[step] = measure(policy, self._subject)
            write_jsonl(self._folder / LOOKS, [self._looks[at].row() for at in sorted(self._looks)])
            log.info("watch: step %d of %d measured in %.1f s", step, steps, look.seconds)
        looks = [self._looks[at] for at in sorted(self._looks) if at <= step]
        how = self._settings
        # Asked at every look, a question has as many chances to be answered wrongly.
        rounds = max(len(how.planned(steps)) - 1, 1)
        stop = how.stop and step < steps and judged(looks, how.alpha / rounds).verdict == "regressed"
        found = judged(looks, how.alpha)
        kept = found.kept if how.keep == "truth" else len(looks) - 1
        if stop:
            # What is stopped for is a fall: the peak before it is what is left of the training.
            kept = found.peak if how.keep == "truth" else kept
        told = summary(looks, found, looks[kept].step, step if stop else None, self._subject)
        write_text(self._folder / SUMMARY, json.dumps(told, indent=1))
        return Word(
            stop=stop,
            mark=how.keep == "truth" and found.peak == len(looks) - 1,
            back=kept != len(looks) - 1,
        )


def summary(looks: Sequence[Look], found: Finding, kept: int, stopped: int | None, subject: Subject) -> dict[str, Any]:
    """What the report and the verdict of a run are made from; JSON-ready. Numbers that cannot be had are None."""
    levels, proxies = truth_levels(looks), proxy_levels(looks)
    return {
        "verdict": found.verdict,
        "reason": found.reason,
        "proxy": subject.proxy_is,
        "near": subject.near_is,
        "far": subject.far_is,
        "looks": [_told(look, level, proxy) for look, level, proxy in zip(looks, levels, proxies, strict=True)],
        "peak": looks[found.peak].step,
        "kept": kept,
        "stopped": stopped,
        "rise": asdict(found.rise) if found.rise else None,
        "truths": [asdict(change) for change in found.truths],
        "falls": [asdict(change) for change in found.falls],
        "fits": [{"truth": name, **asdict(curve)} for name, curve in fits(looks)],
        "seconds": round(sum(look.seconds for look in looks), 3),
    }


def _told(look: Look, level: float, proxy: float | None) -> dict[str, Any]:
    """A look as means over its prompts. level, proxy: in standard deviations since the start."""
    told: dict[str, Any] = {
        "step": look.step,
        "seconds": look.seconds,
        "truth_level": level,
        "proxy_level": proxy,
        "gap": None if proxy is None else proxy - level,
        "proxy": {place: mean(values) for place, values in look.proxy.items()},
        "truth": {name: mean(values) for name, values in look.truth.items()},
        "unscored": {name: sum(reasons.values()) for name, reasons in look.unscored.items()},
    }
    for place, rows in look.sampled.items():
        kl = kl_of(look, place)
        said = [row for row in rows if row.entropy is not None]
        told[place] = {
            "kl": kl and dict(zip(("mean", "ci_low", "ci_high", "n"), kl, strict=True)),
            "tokens": _mean([row.tokens for row in said]),
            "finished": _mean([float(row.finished) for row in said]),
            "entropy": _mean([row.entropy for row in said if row.entropy is not None]),
            "repetition": _mean([row.repetition for row in said]),
            "distinct_1": look.distinct[place][0],
            "distinct_2": look.distinct[place][1],
        }
    return told


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _written(path: Path) -> list[Look]:
    """The looks in a watch.jsonl; one that cannot be read (a kill while writing, another version) is taken again."""
    found: list[Look] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(look_from(json.loads(line)))
        except (json.JSONDecodeError, KeyError, TypeError):
            log.warning("%s: a line that is no look is left out", path)
    return found
