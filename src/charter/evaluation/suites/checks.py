"""Checkers that need no judge: was a constraint met (`check_instruction`), is a short answer right (`check_answer`).

Both are pure functions of the text. They are strict: an empty answer never passes, and constraints that silence or a
refusal would meet by accident (`avoid`, `no_commas`, `max_words`, ...) carry an `about` list, of which at least
one word beginning must occur in the answer.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from charter.errors import UserError, nearest

MAX_ANSWER_WORDS: Final = 25
_WORD: Final = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_BULLET: Final = re.compile(r"^\s*[-*•–]\s+\S")
_NUMBERED: Final = re.compile(r"^\s*(\d{1,4})[.)]\s+\S")
_LIST_NUMBER: Final = re.compile(r"^\s*\d{1,3}[.)]\s", re.MULTILINE)
_FENCE: Final = re.compile(r"^```[a-zA-Z]*\s*\n(.*?)\n?```$", re.DOTALL)
_TITLE: Final = re.compile(r"<<\s*([^<>\n]*[^<>\s][^<>\n]*)>>")
# A full stop after one capital (J. K. Rowling) or a usual abbreviation does not end a sentence.
_SENTENCE_END: Final = re.compile(
    r"(?<!\b[A-Z]\.)(?<!\b(?:St|Mr|Dr|vs)\.)(?<!\b(?:Mrs|etc)\.)(?<!\b(?:e\.g|i\.e)\.)(?<=[.!?])[\"'”’)*]*(?:\s+|$)"
)
_EDGE: Final = " \t\n\"'“”‘’*_`.,:;!?()[]"

Check = Callable[[Mapping[str, Any], str], bool]


def words(text: str) -> list[str]:
    """The words of a text; a hyphenated or contracted word counts as one, the number of a list item as none."""
    return _WORD.findall(_LIST_NUMBER.sub("", text))


def sentences(text: str) -> list[str]:
    """The sentences of a text: split after . ! ? (not after initials and usual abbreviations) and at line ends."""
    parts = (part for line in text.splitlines() for part in _SENTENCE_END.split(line))
    return [part.strip() for part in parts if words(part)]


def paragraphs(text: str) -> list[str]:
    """The blocks of a text that blank lines separate."""
    return [block.strip() for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()) is not None


def _bare(text: str) -> str:
    return text.strip(_EDGE).casefold()


def _json_object(text: str) -> dict[str, Any] | None:
    fenced = _FENCE.match(text.strip())
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _numbers(text: str) -> list[int]:
    return [int(match.group(1)) for line in _lines(text) if (match := _NUMBERED.match(line))]


def _items(check: Mapping[str, Any], answer: str) -> bool:
    """One line, exactly `count` different non-empty items between separators."""
    lines = _lines(answer)
    items = [_bare(item) for item in lines[0].split(check["separator"])] if len(lines) == 1 else []
    return len(items) == check["count"] == len(set(items)) and all(items) and all(len(words(i)) <= 4 for i in items)


def _repeat(check: Mapping[str, Any], answer: str) -> bool:
    """The phrase, `times` times and nothing else."""
    rest, found = re.subn(rf"(?<!\w){re.escape(check['text'].casefold())}(?!\w)", " ", answer.casefold())
    return found == check["times"] and not words(rest)


def _quoted(answer: str) -> bool:
    return len(answer) > 2 and (answer[0], answer[-1]) in {('"', '"'), ("“", "”")} and bool(words(answer))


_CHECKS: Final[dict[str, Check]] = {
    "one_word": lambda _c, a: len(words(a)) == 1 and len(a.split()) == 1,
    "ends_with": lambda c, a: len(words(a)) > 2 and words(a)[-1].casefold() == c["word"].casefold(),
    "includes": lambda c, a: len(words(a)) > len(c["words"]) and all(_has_word(a, word) for word in c["words"]),
    "bullets": lambda c, a: sum(bool(_BULLET.match(line)) for line in _lines(a)) == c["count"],
    "numbered": lambda c, a: _numbers(a) == list(range(1, c["count"] + 1)),
    "sentences": lambda c, a: len(sentences(a)) == c["count"],
    "starts_with": lambda c, a: a.lstrip("\"'“*").startswith(c["text"]) and len(words(a)) > len(words(c["text"])),
    "lowercase": lambda _c, a: a.islower() and len(words(a)) > 1,
    "uppercase": lambda _c, a: a.isupper() and len(words(a)) > 1,
    "no_commas": lambda _c, a: "," not in a and len(words(a)) > 4,
    "json_keys": lambda c, a: (found := _json_object(a)) is not None and sorted(found) == sorted(c["keys"]),
    "max_words": lambda c, a: 1 < len(words(a)) <= c["limit"],
    "min_words": lambda c, a: len(words(a)) >= c["limit"],
    "quoted": lambda _c, a: _quoted(a),
    "separator": _items,
    "repeat": _repeat,
    "yes_no": lambda _c, a: _bare(a) in {"yes", "no"},
    "mention": lambda c, a: len(words(a)) > len(words(c["name"])) and _has_word(a, c["name"]),
    "avoid": lambda c, a: len(words(a)) > 4 and not any(_has_word(a, word) for word in c["words"]),
    "title": lambda _c, a: len(_TITLE.findall(a)) == 1 and len(words(_TITLE.sub(" ", a))) > 4,
    "paragraphs": lambda c, a: len(paragraphs(a)) == c["count"],
    "choice": lambda c, a: _bare(a) in {_bare(option) for option in c["options"]},
}
KINDS: Final = tuple(_CHECKS)


def check_instruction(check: Mapping[str, Any], answer: str) -> bool:
    """Whether the answer meets the constraint `check`: {"kind": one of KINDS, its parameters, "about": [...]}.

    `about` (optional) lists beginnings of words, one of which must occur, so that an off-topic answer or a refusal
    does not pass by accident. Comparisons of words ignore case. Raises UserError for an unknown kind.
    """
    kind = check["kind"]
    if kind not in _CHECKS:
        raise UserError(
            f'There is no check of kind "{kind}".{nearest(str(kind), list(KINDS))} Kinds: {", ".join(KINDS)}.'
        )
    answer = answer.strip()
    about = [str(stem).casefold() for stem in check.get("about", ())]
    if about and not any(re.search(rf"(?<!\w){re.escape(stem)}", answer.casefold()) for stem in about):
        return False
    return bool(words(answer)) and _CHECKS[kind](check, answer)


def normalise(text: str) -> str:
    """Lower case, no accents, no apostrophes, no articles, digit groups joined, other punctuation as single spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = re.sub(r"['’‘]", "", plain)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain)
    # A decimal point or a minus sign stays, so that 12 is not found in 12.5 or in -12.
    plain = re.sub(r"(?<=\d)\.(?=\d)", "·", plain)
    plain = re.sub(r"(?<![\w)])[-−](?=\d)", "~", plain)
    return " ".join(w for w in re.sub(r"[^\w·~]+|_", " ", plain).split() if w not in {"a", "an", "the"})


def _first_statement(answer: str) -> str:
    """The first sentence; a lead-in that ends in a colon takes the next line with it."""
    lines = _lines(answer)
    head = lines[0] if lines else ""
    if head.rstrip(" *").endswith(":") and len(lines) > 1:
        head = f"{head} {lines[1]}"
    found = sentences(head)
    return found[0] if found else ""


def _names(accepted: Sequence[str], statement: str) -> bool:
    """Whether one accepted answer occurs as whole words, and none directly after a "not"."""
    text = f" {normalise(statement)} "
    if any(re.search(rf" (not|isnt|never) {re.escape(normalise(option))} ", text) for option in accepted):
        return False
    return any(
        # In lower case a one-letter answer is an article or a variable.
        re.search(rf"(?<![\w'’]){option}(?![\w'’])", statement) is not None
        if len(option) == 1 and option.isalpha()
        else f" {normalise(option)} " in text
        for option in accepted
    )


def check_answer(accepted: Sequence[str], answer: str) -> bool:
    """Whether the first sentence of the answer gives one of the accepted answers, as whole words.

    Case, accents, apostrophes, punctuation and articles do not count; a one-letter answer must keep its case. Not
    accepted, because it names the answer without committing to it: a first sentence of more than 25 words, a list of
    more than three items, a hedge with a wrong alternative ("Paris or Lyon"), and a denial ("not Paris").
    """
    head = _first_statement(answer)
    if not head or len(words(head)) > MAX_ANSWER_WORDS or len(re.findall(r"[,;/|](?!\d)", head)) > 2:
        return False
    return all(_names(accepted, part) for part in re.split(r"\bor\b", head))
