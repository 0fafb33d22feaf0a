"""Best-of-n: the same request under random small changes, sampled until one answer complies (Hughes et al. 2024)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from charter.records import user_prompt
from charter.redteam.protocol import BLACK_BOX, JAILBREAK, OBFUSCATION, Behaviour, Query, Search, Setting, Spec

STRENGTH: Final = 0.4
ROUND: Final = 8


def augmented(text: str, rng: random.Random, strength: float = STRENGTH) -> str:
    """The text with words scrambled (first and last letters stay), letters in the other case, and some noise.

    The chances are the paper's: √σ of scrambling a word of four letters or more and of changing a letter's case, σ³ of
    moving a printable character to its neighbour in ASCII.
    """
    often, seldom = strength**0.5, strength**3
    words = [_scrambled(word, rng) if rng.random() < often and len(word) > 3 else word for word in text.split(" ")]
    cased = [letter.swapcase() if rng.random() < often else letter for letter in " ".join(words)]
    return "".join(_moved(letter, rng) if rng.random() < seldom else letter for letter in cased)


def _scrambled(word: str, rng: random.Random) -> str:
    inner = list(word[1:-1])
    rng.shuffle(inner)
    return f"{word[0]}{''.join(inner)}{word[-1]}"


def _moved(letter: str, rng: random.Random) -> str:
    code = ord(letter) + rng.choice((-1, 1))
    return chr(code) if 32 < ord(letter) < 127 and 32 < code < 127 else letter


class BestOfN:
    """Up to the budget's number of changed requests, sampled at temperature 1, a few at a time."""

    spec = Spec(
        "best-of-n",
        "search",
        (JAILBREAK, BLACK_BOX, OBFUSCATION),
        "Random spelling, case and noise, sampled until one gets through; as many as the budget.",
    )

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        """Rounds of a few queries, ended by a success."""
        rng = random.Random(f"{setting.seed}|{behaviour.id}")
        left = setting.budget
        while left > 0:
            count = min(ROUND, left)
            answers = yield [
                Query(
                    user_prompt(augmented(behaviour.text, rng)),
                    replace(setting.sampling, temperature=1.0, seed=rng.randrange(2**31)),
                )
                for _ in range(count)
            ]
            if any(answer.success for answer in answers):
                return
            left -= count
