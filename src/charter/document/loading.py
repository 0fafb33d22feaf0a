"""From a charter file on disk to a resolved Charter: validation, `extends`, overrides.

Order of resolution, file by file from the base of the chain: the file's clauses, then those of its overrides that
match, in their order. What is nearest to the file that was asked for therefore wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from charter.document.explain import explain
from charter.document.marked import Location, Marked, read_yaml
from charter.document.types import Charter, CharterFile, Clause, ClausePatch, When
from charter.errors import UserError, nearest

STARTER: Final = Path(__file__).parent / "starter" / "charter.yaml"
"""The charter that `charter init` writes, and that runs without a charter of their own use."""


def load_charter(
    path: Path, *, locale: str | None = None, audience: str | None = None, jurisdiction: str | None = None
) -> Charter:
    """Read, check and resolve a charter.

    locale, audience, jurisdiction: which overrides apply; none by default. An override applies when everything its
    `when` names agrees. Raises UserError naming file and line for anything that is wrong, in whichever file of the
    chain it stands, also inside overrides that do not apply.
    """
    asked = When(locale=locale or None, audience=audience or None, jurisdiction=jurisdiction or None)
    state = _State(asked)
    chain = _read_chain(path)
    for source in reversed(chain):
        state.work_in(source)
    newest = chain[0]
    if not state.clauses:
        raise UserError(f"{path}: has no clauses. Add at least one under `clauses:`.")
    return Charter(
        name=newest.file.name,
        version=newest.file.version,
        path=path,
        clauses=tuple(state.clauses.values()),
        variants=tuple(dict.fromkeys(state.variants)),
        places=state.places,
    )


@dataclass(frozen=True)
class _Source:
    """One file of the chain: its checked content, and where everything in it stands."""

    file: CharterFile
    marked: Marked

    def place(self, at: Location) -> str:
        return f"{self.marked.path}, line {self.marked.line(at)}"


def _read_chain(path: Path) -> list[_Source]:
    """The file and what it extends, nearest first. Raises UserError on a cycle."""
    chain: list[_Source] = []
    seen: list[Path] = []
    while True:
        seen.append(path.resolve())
        source = _read_file(path)
        chain.append(source)
        if source.file.extends is None:
            return chain
        base = path.parent / source.file.extends
        where = source.place(("extends",))
        if base.resolve() in seen:
            names = [s.marked.path.name for s in chain]
            circle = " -> ".join([*names[seen.index(base.resolve()) :], base.name])
            raise UserError(f"{where}: the files extend each other in a circle ({circle}). Take one `extends:` out.")
        if not base.is_file():
            there = sorted(p.name for p in base.parent.glob("*.y*ml")) if base.parent.is_dir() else []
            raise UserError(
                f"{where}: extends {source.file.extends}, but there is no file {base}.{nearest(base.name, there)} "
                "The path is relative to the file that says `extends:`."
            )
        path = base


def _read_file(path: Path) -> _Source:
    marked = read_yaml(path, absent=f'Or write a starter charter: "charter init {path}".')
    if not isinstance(marked.value, dict):
        kind = "nothing" if marked.value is None else f"a {type(marked.value).__name__}"
        raise UserError(
            f"{path}, line {marked.line(())}: a charter is a mapping that starts with `charter: 1`, `name:`, "
            f'`version:` and `clauses:`; this file holds {kind}. "charter init" writes one to start from.'
        )
    try:
        file = CharterFile.model_validate(marked.value)
    except ValidationError as error:
        raise UserError(explain(error, marked)) from None
    source = _Source(file, marked)
    for at, patches in _clause_lists(file):
        _refuse_duplicates(source, at, patches)
    return source


def _clause_lists(file: CharterFile) -> list[tuple[Location, tuple[ClausePatch, ...]]]:
    """Each list of clauses in the file and where it stands."""
    lists: list[tuple[Location, tuple[ClausePatch, ...]]] = [(("clauses",), file.clauses)]
    lists += [(("overrides", index, "clauses"), override.clauses) for index, override in enumerate(file.overrides)]
    return lists


def _refuse_duplicates(source: _Source, at: Location, patches: tuple[ClausePatch, ...]) -> None:
    first: dict[str, int] = {}
    for index, patch in enumerate(patches):
        if patch.id in first:
            earlier = source.marked.line((*at, first[patch.id]))
            raise UserError(
                f'{source.place((*at, index))}: the clause id "{patch.id}" is already taken on line {earlier}. '
                "Give this clause another id, or merge the two."
            )
        first[patch.id] = index


@dataclass
class _State:
    """The clauses so far, as the chain is worked in from its base."""

    asked: When
    clauses: dict[str, Clause] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    variants: list[When] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """Every id that was ever written completely, in overrides that do not apply too."""

    def work_in(self, source: _Source) -> None:
        for (at, patches), when in zip(
            _clause_lists(source.file), [None, *(o.when for o in source.file.overrides)], strict=True
        ):
            applies = when is None or when.matches(self.asked)
            if when is not None:
                self.variants.append(when)
            for index, patch in enumerate(patches):
                place = source.place((*at, index))
                self._check(patch, place)
                if applies:
                    self._apply(patch, place)

    def _check(self, patch: ClausePatch, place: str) -> None:
        """What must hold whether or not the override applies."""
        if patch.remove:
            extra = sorted(patch.model_fields_set - {"id", "remove"})
            if extra:
                raise UserError(
                    f"{place}: clause {patch.id} is removed and given {', '.join(extra)} at once. "
                    "Keep `remove: true` or the rest."
                )
            if patch.id not in self.known:
                raise UserError(
                    f'{place}: there is no clause "{patch.id}" to remove.{nearest(patch.id, sorted(self.known))}'
                )
        elif not patch.missing:
            self.known.add(patch.id)
        elif patch.id not in self.known:
            raise UserError(self._incomplete(patch, place))

    def _apply(self, patch: ClausePatch, place: str) -> None:
        if patch.remove:
            self.clauses.pop(patch.id, None)
            self.places.pop(patch.id, None)
            return
        earlier = self.clauses.get(patch.id)
        if earlier is None and patch.missing:
            raise UserError(
                f"{place}: changes clause {patch.id}, which is not there for {self.asked} (it was removed, or only "
                f"another override adds it). Give it {' and '.join(patch.missing)} here, or drop the change."
            )
        self.clauses[patch.id] = patch.applied_to(earlier)
        self.places[patch.id] = place

    def _incomplete(self, patch: ClausePatch, place: str) -> str:
        hint = nearest(patch.id, sorted(self.known))
        return (
            f'{place}: clause "{patch.id}" is new, so it needs {" and ".join(f"`{m}:`" for m in patch.missing)}.'
            f"{hint} A clause that is already there may give only what changes."
        )
