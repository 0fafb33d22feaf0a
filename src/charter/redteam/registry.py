"""Attacks by name: single ones, families, and rewrites composed with `+`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from charter.errors import UserError, nearest
from charter.redteam import searching
from charter.redteam.protocol import JAILBREAK, Attack, Spec
from charter.redteam.rewriting import Part, Rewriting, composed, encodings, forms, framings, hierarchy, languages, shots
from charter.redteam.rewriting.parts import wrapped

DIRECT_REQUEST: Final = Part(
    Spec("direct", "baseline", (JAILBREAK,), "The request as it is: what the attacks are compared with."),
    wrapped("{request}"),
)
REWRITES: Final[Mapping[str, Part]] = {
    part.spec.name: part for room in (framings, shots, encodings, forms, hierarchy, languages) for part in room.PARTS
}


@cache
def attacks() -> Mapping[str, Attack]:
    """Every attack that has a name of its own, `direct` first."""
    made: dict[str, Attack] = {"direct": composed("direct", [DIRECT_REQUEST])}
    made |= {name: composed(name, [part]) for name, part in REWRITES.items()}
    made |= {attack.spec.name: attack for attack in searching.ATTACKS}
    return made


def groups() -> dict[str, list[str]]:
    """Names that stand for several attacks: each family, `rewriting` (all rewrites) and `all`."""
    found: dict[str, list[str]] = {"all": list(attacks()), "rewriting": list(REWRITES)}
    for name, attack in attacks().items():
        found.setdefault(attack.spec.family, []).append(name)
    return found


def attacks_named(text: str) -> list[Attack]:
    """The attacks of a comma-separated text of names, groups and compositions such as `base64+persona`.

    Raises UserError for an unknown name, or a composition of what does not rewrite.
    """
    known, families = attacks(), groups()
    found: dict[str, Attack] = {}
    for name in (part.strip() for part in text.split(",")):
        if not name:
            continue
        for single in families.get(name, [name]):
            if "+" in single:
                found[single] = _composition(single)
            elif single in known:
                found[single] = known[single]
            else:
                names = [*known, *families]
                raise UserError(
                    f'There is no attack "{single}".{nearest(single, names)} `charter redteam list` names them all; '
                    f"groups: {', '.join(families)}; rewrites compose, as in base64+persona."
                )
    if not found:
        raise UserError("--attacks is empty. Name at least one, or a group such as rewriting.")
    return list(found.values())


def _composition(name: str) -> Rewriting:
    parts = []
    for single in name.split("+"):
        part = REWRITES.get(single.strip())
        if part is None:
            known = list(REWRITES)
            raise UserError(
                f'"{name}": "{single}" is not a rewriting attack, and only these compose.{nearest(single, known)} '
                f"They are: {', '.join(known)}."
            )
        parts.append(part)
    return composed(name, parts)
