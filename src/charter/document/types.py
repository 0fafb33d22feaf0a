"""What a charter is: clauses as they stand in a file, and the charter that a file resolves to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from charter.document.frameworks import check_id
from charter.errors import UserError, nearest

FORMAT: Final = 1

Kind = Literal["must", "must_not", "scope", "tone", "person"]
Severity = Literal["low", "medium", "high"]
TrainSource = Literal["pairs", "contrast", "demonstrations"]
GuardLayer = Literal["classifier", "injection", "pii", "secrets", "scope", "leak", "groundedness", "tools", "person"]
WatchRule = Literal["refusal_rate", "block_rate", "score_drift", "canary"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
GUARD_LAYERS: Final[tuple[GuardLayer, ...]] = get_args(GuardLayer)
WATCH_RULES: Final[tuple[WatchRule, ...]] = get_args(WatchRule)


def _blank_list(value: object) -> object:
    """`guard:` with all its items commented out reads as null; it is meant as an empty list."""
    return () if value is None else value


def _article(value: object) -> object:
    """`eu_ai_act: [15]` without quotes is a number in YAML; there is only one way to mean it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, Field(min_length=1)]
ClauseId = Annotated[str, Field(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$")]
TestName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+(/[A-Za-z0-9 ._-]+)?$")]
Blankable = BeforeValidator(_blank_list)
Texts = Annotated[tuple[Text, ...], Blankable]
Sources = Annotated[tuple[TrainSource, ...], Blankable]
TestNames = Annotated[tuple[TestName, ...], Blankable]
Layers = Annotated[tuple[GuardLayer, ...], Blankable]
Rules = Annotated[tuple[WatchRule, ...], Blankable]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Frameworks(_Part):
    """What the clause answers to in outside frameworks; every identifier is checked to exist."""

    atlas: Annotated[tuple[Annotated[str, AfterValidator(lambda v: check_id("atlas", v))], ...], Blankable] = ()
    nist_ai_rmf: Annotated[
        tuple[Annotated[str, AfterValidator(lambda v: check_id("nist_ai_rmf", v))], ...], Blankable
    ] = ()
    nist_ai_600_1: Annotated[
        tuple[Annotated[str, AfterValidator(lambda v: check_id("nist_ai_600_1", v))], ...], Blankable
    ] = ()
    eu_ai_act: Annotated[
        tuple[Annotated[str, BeforeValidator(_article), AfterValidator(lambda v: check_id("eu_ai_act", v))], ...],
        Blankable,
    ] = ()


class Clause(_Part):
    """One numbered rule, complete."""

    id: ClauseId
    kind: Kind
    rule: Text
    instead: Text | None = None
    opposite: Text | None = None
    answer: Text | None = None
    critique: Text | None = None
    revision: Text | None = None
    severity: Severity = "medium"
    topics: Texts = ()
    train: Sources = ()
    test: TestNames = ()
    guard: Layers = ()
    watch: Rules = ()
    frameworks: Frameworks = Frameworks()

    @property
    def digest(self) -> str:
        """sha256 of the clause's content. A field left out and one that spells its default are the same."""
        return _sha256(self.content())

    def content(self) -> dict[str, Any]:
        """The clause as JSON-ready data, fields at their defaults left out."""
        return self.model_dump(mode="json", exclude_defaults=True)


class ClausePatch(_Part):
    """A clause as a file writes it: complete when its id is new, otherwise only the fields that change.

    A field that is given replaces the earlier one whole; `instead:`, `opposite:`, `answer:`, `critique:` or
    `revision:` left blank clears it.
    """

    id: ClauseId
    kind: Kind | None = None
    rule: Text | None = None
    instead: Text | None = None
    opposite: Text | None = None
    answer: Text | None = None
    critique: Text | None = None
    revision: Text | None = None
    severity: Severity | None = None
    topics: Texts = ()
    train: Sources = ()
    test: TestNames = ()
    guard: Layers = ()
    watch: Rules = ()
    frameworks: Frameworks = Frameworks()
    remove: bool = False

    @field_validator("kind", "rule", "severity", mode="before")
    @classmethod
    def _not_blank(cls, value: object) -> object:
        if value is None:
            raise ValueError("is blank. Give it a value or remove the line.")
        return value

    @property
    def missing(self) -> tuple[str, ...]:
        """What a new clause would still need."""
        return tuple(name for name in ("kind", "rule") if name not in self.model_fields_set)

    def applied_to(self, earlier: Clause | None) -> Clause:
        """The clause after this patch. Without an earlier one the patch must be complete."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"remove"}}
        before = {name: getattr(earlier, name) for name in earlier.model_fields_set} if earlier else {}
        return Clause.model_validate({**before, **given})


class When(_Part):
    """A locale, an audience and a jurisdiction, each optional: what an override is for, or what is asked for."""

    locale: Text | None = None
    audience: Text | None = None
    jurisdiction: Text | None = None

    def matches(self, asked: When) -> bool:
        """Whether everything this condition names agrees with what is asked for.

        Case does not matter. A locale also covers its narrower ones: `de` matches a request for `de-AT`.
        """
        ours = (self.locale or "").lower().replace("_", "-")
        theirs = (asked.locale or "").lower().replace("_", "-")
        return (
            (not ours or theirs == ours or theirs.startswith(ours + "-"))
            and (self.audience is None or self.audience.lower() == (asked.audience or "").lower())
            and (self.jurisdiction is None or self.jurisdiction.lower() == (asked.jurisdiction or "").lower())
        )

    def __str__(self) -> str:
        named = self.model_dump(exclude_none=True)
        return ", ".join(f"{name} {value}" for name, value in named.items()) or "everyone"


class Override(_Part):
    """Clauses that differ where `when` holds."""

    when: When
    clauses: tuple[ClausePatch, ...] = Field(min_length=1)

    @field_validator("when")
    @classmethod
    def _names_something(cls, when: When) -> When:
        if when == When():
            raise ValueError("needs at least one of locale, audience or jurisdiction.")
        return when


class CharterFile(_Part):
    """One YAML file, before `extends` and `overrides` are worked in."""

    charter: Literal[1]
    name: Text
    version: Text
    extends: Text | None = None
    clauses: Annotated[tuple[ClausePatch, ...], Blankable] = ()
    overrides: Annotated[tuple[Override, ...], Blankable] = ()


@dataclass(frozen=True)
class Charter:
    """A charter resolved for one locale, audience and jurisdiction: complete clauses in their order."""

    name: str
    version: str
    path: Path
    clauses: tuple[Clause, ...]
    variants: tuple[When, ...] = field(default=(), compare=False)
    """The distinct conditions of all overrides in the file and the files it extends."""
    places: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Clause id to "file, line N", where the clause was last written."""

    @property
    def digest(self) -> str:
        """sha256 of name, version and clauses; independent of path, comments, formatting and file layout."""
        clauses = [clause.content() for clause in self.clauses]
        return _sha256({"charter": FORMAT, "name": self.name, "version": self.version, "clauses": clauses})

    def clause(self, id: str) -> Clause:
        """The clause of that id. Raises UserError with the nearest id when there is none."""
        for clause in self.clauses:
            if clause.id == id:
                return clause
        raise UserError(
            f'{self.path}: there is no clause "{id}".{nearest(id, [clause.id for clause in self.clauses])} '
            f"The clauses are {', '.join(clause.id for clause in self.clauses)}."
        )


def _sha256(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
