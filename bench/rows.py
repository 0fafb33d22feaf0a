"""What the benches train on: pairs of hh-rlhf where it is at hand, else random tokens of like lengths."""

from __future__ import annotations

import random
from pathlib import Path

from charter.training.layout import Group

ROOT = Path(__file__).resolve().parent.parent
HH = ROOT.parent / "shared" / "data" / "hh-rlhf-harmless" / "dev.jsonl"


def pairs_like_hh(count: int, longest: int, seed: int, synthetic: bool) -> tuple[list[Group], str]:
    """(preference pairs as token ids, no prompt twice; where they are from). Longer ones are left out."""
    found, source = _from_hh(count, longest, seed) if HH.exists() and not synthetic else (None, "")
    if found is None:
        return random_pairs(count, longest, seed), "random tokens of hh-like lengths"
    if len(found) < count:
        raise SystemExit(f"{HH.name} has {len(found)} pairs of at most {longest} tokens; {count} are asked for")
    return found[:count], source


def _from_hh(count: int, longest: int, seed: int) -> tuple[list[Group], str]:
    from transformers import AutoTokenizer

    from charter.errors import UserError
    from charter.feedback.formats import preference_of
    from charter.models.smollm2 import smollm2_folder
    from charter.models.template import chat_format
    from charter.records import read_jsonl
    from charter.training.rows import preference_groups

    rows = []
    for number, row in read_jsonl(HH):
        try:
            # Keys in file order sort as the data does, so that KTO's mismatched rows are the same on both sides.
            rows.append(preference_of(row, f"line {number}", f"{number:06}"))
        except UserError:
            continue
    random.Random(seed).shuffle(rows)
    format_ = chat_format(AutoTokenizer.from_pretrained(smollm2_folder()))
    groups, _ = preference_groups(rows[: 4 * count + 50], format_, longest)
    by_prompt = {group.prompt: group for group in reversed(groups)}
    return [group for group in groups if by_prompt[group.prompt] is group], "hh-rlhf harmless"


def random_pairs(count: int, longest: int, seed: int) -> list[Group]:
    """Pairs of random tokens, in lengths like those of hh-rlhf (log-normal)."""
    drawn = random.Random(seed)

    def length(median: float) -> int:
        return max(4, min(round(drawn.lognormvariate(0, 0.7) * median), longest // 3))

    return [
        Group(f"{i:06}", random_ids(drawn, length(110)), tuple(random_ids(drawn, length(45)) for _ in "ab"))
        for i in range(count)
    ]


def random_ids(drawn: random.Random, size: int, vocabulary: int = 49_000) -> tuple[int, ...]:
    """Ordinary tokens: none of the first ones, which are special."""
    return tuple(drawn.randrange(20, vocabulary) for _ in range(size))
