"""Which identifiers of outside frameworks exist, so that a mistyped one is an error and not a silent gap.

Sources: MITRE ATLAS 5.6.0 (`atlas.json`: identifiers and names of techniques, Apache-2.0); NIST AI RMF 1.0
(AI 100-1, tables 1-4: 72 subcategories); NIST AI 600-1 (suggested actions, numbered within those subcategories);
Regulation (EU) 2024/1689 (113 articles).
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

from charter.errors import nearest

Framework = Literal["atlas", "nist_ai_rmf", "nist_ai_600_1", "eu_ai_act"]
FRAMEWORKS: Final[tuple[Framework, ...]] = get_args(Framework)

# Subcategories per category: GOVERN 1 has 1.1 to 1.7, GOVERN 2 has 2.1 to 2.3, and so on.
_RMF_SIZES: Final = {
    "GOVERN": (7, 3, 2, 3, 2, 2),
    "MAP": (6, 3, 5, 2, 2),
    "MEASURE": (3, 13, 3, 3),
    "MANAGE": (4, 4, 2, 3),
}
_ACTION_PREFIXES: Final = {"GV": "GOVERN", "MP": "MAP", "MS": "MEASURE", "MG": "MANAGE"}
_EU_ARTICLES: Final = 113


@cache
def atlas_techniques() -> dict[str, str]:
    """Technique and sub-technique identifier to its name."""
    table = json.loads(files("charter.document").joinpath("atlas.json").read_text(encoding="utf-8"))
    return dict(table["techniques"])


@cache
def rmf_subcategories() -> tuple[str, ...]:
    """All subcategories of the AI RMF, such as "MEASURE 2.6"."""
    return tuple(
        f"{function} {category}.{number}"
        for function, sizes in _RMF_SIZES.items()
        for category, size in enumerate(sizes, 1)
        for number in range(1, size + 1)
    )


def check_id(framework: Framework, identifier: str) -> str:
    """The identifier, when the framework has it. Raises ValueError with the nearest right one otherwise."""
    if len(identifier) > 40:
        raise ValueError(f'"{identifier[:37]}..." is too long to be an identifier.')
    match framework:
        case "atlas":
            if identifier not in atlas_techniques():
                hint = nearest(identifier.upper(), list(atlas_techniques()))
                raise ValueError(f'"{identifier}" is not a technique of MITRE ATLAS 5.6.0.{hint}')
        case "nist_ai_rmf":
            if identifier not in rmf_subcategories():
                hint = nearest(identifier.upper(), list(rmf_subcategories()))
                raise ValueError(f'"{identifier}" is not a subcategory of the NIST AI RMF.{hint}')
        case "nist_ai_600_1":
            _check_action(identifier)
        case "eu_ai_act":
            if not (identifier.isascii() and identifier.isdigit() and identifier == str(int(identifier))) or not (
                1 <= int(identifier) <= _EU_ARTICLES
            ):
                digits = re.search(r"\d+", identifier)
                known = digits is not None and 1 <= int(digits[0]) <= _EU_ARTICLES
                hint = f' Did you mean "{int(digits[0])}"?' if digits and known else ""
                raise ValueError(
                    f'"{identifier}" is not an article of the EU AI Act; give its number, 1 to {_EU_ARTICLES}.{hint}'
                )
    return identifier


def _check_action(identifier: str) -> None:
    """AI 600-1 numbers its actions FUNCTION-SUBCATEGORY-NUMBER; the subcategory must be one of the RMF's."""
    shape = re.fullmatch(r"([A-Z]{2})-(\d+\.\d+)-(\d{3})", identifier)
    known = shape and f"{_ACTION_PREFIXES.get(shape[1], '')} {shape[2]}" in rmf_subcategories()
    if shape and known and shape[3] != "000":
        return
    loose = re.fullmatch(r"([A-Za-z]+)[-_ ]*(\d+\.\d+)[-_ ]*(\d{1,3})", identifier)
    hint = ""
    if loose:
        prefixes = {**{p: p for p in _ACTION_PREFIXES}, **{f: p for p, f in _ACTION_PREFIXES.items()}}
        prefix = prefixes.get(loose[1].upper(), "")
        if f"{_ACTION_PREFIXES.get(prefix, '')} {loose[2]}" in rmf_subcategories() and int(loose[3]):
            hint = f' Did you mean "{prefix}-{loose[2]}-{int(loose[3]):03d}"?'
    raise ValueError(f'"{identifier}" is not an action of NIST AI 600-1; these look like "MS-2.7-008".{hint}')
