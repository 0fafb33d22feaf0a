"""A rewriting sweep batched across attacks against one attack after another: the same queries, the same model.

    python bench/redteam.py --behaviours 20

`sweep`: all attacks on all behaviours in one sweep. `serial`: attack after attack, behaviour after behaviour, one query
at a time, as scanners do that ask each prompt of each probe in turn. `by attack`: attack after attack, each one's
behaviours in one batch. One query for each pair (--budget 1), no judge, nothing cached. `--serial-share` measures the
serial side on every n-th pair only: its queries do not depend on one another. The last line is one JSON object;
`ratio` is samples/s of the sweep over the serial side, `ratio_by_attack` over the other.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any


class NoJudge:
    """Leaves everything unscored: judging costs the same on all sides."""

    name = "none"
    labels = ("harmful", "safe")

    def score(self, rows: Sequence[Any]) -> list[Any]:
        from charter.records import Score

        return [Score(row.id, self.name, unscored="not judged") for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--attacks", default="rewriting")
    parser.add_argument("--behaviours", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--serial-share", type=int, default=1, help="measure the serial side on every n-th pair")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    from charter.models.loading import load_model
    from charter.records import Sampling
    from charter.redteam.behaviours import chosen, shipped_behaviours
    from charter.redteam.journal import Journal
    from charter.redteam.parties import Party, fitting
    from charter.redteam.protocol import Setting
    from charter.redteam.registry import attacks_named
    from charter.redteam.sweep import Sweep

    local = load_model(args.model, args.dtype)
    attacks = attacks_named(args.attacks)
    behaviours = chosen(shipped_behaviours(), (), args.behaviours, args.seed)
    sampling = Sampling(args.max_tokens)
    setting = Setting(1, sampling, fits=fitting(local, args.max_tokens), local=local)
    party = Party(local)

    def run(chosen_attacks: Sequence[Any], chosen_behaviours: Sequence[Any], window: int = 256) -> int:
        with Journal(None) as journal:
            sweep = Sweep({"target": party}, NoJudge(), setting, journal, window=window)
            return sum(outcome.queries for outcome in sweep.run(chosen_attacks, chosen_behaviours))

    def sweep() -> int:
        return run(attacks, behaviours)

    def by_attack() -> int:
        return sum(run([attack], behaviours) for attack in attacks)

    def serial() -> int:
        pairs = list(itertools.product(attacks, behaviours))[:: args.serial_share]
        return sum(run([attack], [behaviour], window=1) for attack, behaviour in pairs)

    run(attacks[:1], behaviours[:2])  # the first call pays for the engine's trial run
    rates: dict[str, list[float]] = {}
    for number in range(args.rounds):
        for name, work in (("sweep", sweep), ("by attack", by_attack), ("serial", serial)):
            begun = time.perf_counter()
            samples = work()
            seconds = time.perf_counter() - begun
            rates.setdefault(name, []).append(samples / seconds)
            print(
                f"round {number + 1}, {name}: {samples} samples in {seconds:.1f} s, {samples / seconds:.2f} samples/s",
                file=sys.stderr,
                flush=True,
            )
    party.close()
    middle = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "name": "redteam",
                "ratio": round(middle["sweep"] / middle["serial"], 2),
                "ratio_by_attack": round(middle["sweep"] / middle["by attack"], 2),
                "ours": round(middle["sweep"], 3),
                "theirs": round(middle["serial"], 3),
                "unit": "samples/s",
                "pairs": [[round(a, 3), round(b, 3)] for a, b in zip(rates["sweep"], rates["serial"], strict=True)],
                "attacks": len(attacks),
                "behaviours": len(behaviours),
            }
        )
    )


if __name__ == "__main__":
    main()
