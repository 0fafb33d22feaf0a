"""Capital letters drawn five rows high, and read back."""

from __future__ import annotations

from typing import Final

_ROWS: Final = 5
_ALPHABET: Final = """
 #  ##   ## ##  ### ###  ## # # ###  ## # # #   # # #  #  #  ##   #  ##   ## ### # # # # # # # # # # ###
# # # # #   # # #   #   #   # #  #    # # # #   ### ## # # # # # # # # # #    #  # # # # # # # # # #   #
### ##  #   # # ##  ##  # # ###  #    # ##  #   ### # ## # # ##  # # ##   #   #  # # # # ###  #   #   #
# # # # #   # # #   #   # # # #  #  # # # # #   # # #  # # # #   ### # #   #  #  # # # # ### # #  #  #
# # ##   ## ##  ### #    ## # # ###  #  # # ### # # #  #  #  #     # # # ##   #  ###  #  # # # #  #  ###
""".strip("\n")
_BREAK: Final = "  "


def _letters() -> dict[str, tuple[str, ...]]:
    rows = _ALPHABET.split("\n")
    width = max(map(len, rows))
    rows = [row.ljust(width + 1) for row in rows]
    letters: dict[str, tuple[str, ...]] = {}
    start = 0
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        wide = 4 if letter == "N" else 3
        letters[letter] = tuple(row[start : start + wide].ljust(wide) for row in rows)
        start += wide + 1
    return letters


LETTERS: Final = _letters()
_NAMES: Final = {drawing: letter for letter, drawing in LETTERS.items()}


def draw(word: str) -> str:
    """The word's letters side by side. Raises KeyError for what is not a Latin letter."""
    drawings = [LETTERS[letter] for letter in word.upper()]
    return "\n".join(_BREAK.join(drawing[row] for drawing in drawings).rstrip() for row in range(_ROWS))


def read(art: str) -> str:
    """The word that `draw` drew, in capitals. Raises ValueError when it is no such drawing."""
    rows = art.split("\n")
    if len(rows) != _ROWS:
        raise ValueError(f"a drawing has {_ROWS} rows, not {len(rows)}")
    width = max(map(len, rows))
    rows = [row.ljust(width + 4) for row in rows]
    word, start = "", 0
    while start < width:
        for wide in (4, 3):
            letter = _NAMES.get(tuple(row[start : start + wide] for row in rows))
            if letter is not None and all(row[start + wide : start + wide + 2].strip() == "" for row in rows):
                word, start = word + letter, start + wide + len(_BREAK)
                break
        else:
            raise ValueError(f"no letter begins at column {start + 1}")
    return word
