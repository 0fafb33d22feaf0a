"""From an interval to a decision: pass, regressed or inconclusive.

Two questions, asked of the difference d = candidate - base (higher is better):

- *Kept enough?* (margin m). **pass** when the interval lies wholly above -m: a fall of m or more is excluded.
  Otherwise **regressed** when a fall is shown (d < 0 and the adjusted p of "no change" is at most alpha), or when
  the interval lies wholly below -m. Otherwise **inconclusive**.
- *Gained enough?* (min_gain g). **pass** when the interval lies wholly above g. Otherwise **regressed** when a fall
  is shown, or when the interval lies wholly below g: the wanted gain is excluded. Otherwise **inconclusive**.

Why *regressed* does not wait for the interval to clear -m: a model that truly fell by exactly m would then almost
never be called regressed (2.5% of the time), while everyone would want it stopped. Here it is: it can pass only
with the interval's own error (2.5%), and its fall is plain at any sample size where m is detectable. A fall that is
significant but shown to be smaller than m passes; the margin says that such a fall is acceptable.

Error rates. An unchanged model is called regressed only when the two-sided test rejects downwards: at most alpha / 2
per metric, and at most alpha / 2 over the family once p is Holm-adjusted. Passing needs *every* metric to pass, an
intersection-union test, so the intervals of the pass side need no adjustment.
"""

from __future__ import annotations

from typing import Literal

Verdict = Literal["pass", "regressed", "inconclusive"]


def kept(delta: float, ci_low: float, ci_high: float, adjusted_p: float, margin: float, alpha: float = 0.05) -> Verdict:
    """Non-inferiority at `margin` > 0. See the module's text for the rule."""
    if margin <= 0:
        raise ValueError(f"a margin is greater than 0, got {margin}")
    if ci_low > -margin:
        return "pass"
    if fell(delta, adjusted_p, alpha) or ci_high < -margin:
        return "regressed"
    return "inconclusive"


def gained(
    delta: float, ci_low: float, ci_high: float, adjusted_p: float, min_gain: float, alpha: float = 0.05
) -> Verdict:
    """Superiority by more than `min_gain` >= 0. See the module's text for the rule."""
    if min_gain < 0:
        raise ValueError(f"min_gain is at least 0 (use a margin to allow a fall), got {min_gain}")
    if ci_low > min_gain:
        return "pass"
    if fell(delta, adjusted_p, alpha) or ci_high < min_gain:
        return "regressed"
    return "inconclusive"


def fell(delta: float, adjusted_p: float, alpha: float = 0.05) -> bool:
    """A fall is shown: the estimate is below zero and "no change" is rejected."""
    return delta < 0 and adjusted_p <= alpha


def worst(verdicts: list[Verdict]) -> Verdict:
    """The family's verdict: one regression decides, then one doubt; nothing measured is a doubt, not a pass."""
    if "regressed" in verdicts:
        return "regressed"
    if not verdicts or "inconclusive" in verdicts:
        return "inconclusive"
    return "pass"
