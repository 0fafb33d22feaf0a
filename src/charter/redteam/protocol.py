"""What an attack is: a search over prompts, written as a generator, so that many searches share one batch.

A search yields queries and is sent their answers; it never touches a model itself. Whoever runs searches may therefore
ask the queries of hundreds of them together, keep the answers, and replay them after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from charter.records import Completion, Conversation, Sampling

if TYPE_CHECKING:
    from charter.models.loading import LocalModel

JAILBREAK: Final = "AML.T0054"
DIRECT: Final = "AML.T0051.000"
INDIRECT: Final = "AML.T0051.001"
CRAFTING: Final = "AML.T0065"
OBFUSCATION: Final = "AML.T0068"
IMPERSONATION: Final = "AML.T0073"
WHITE_BOX: Final = "AML.T0043.000"
BLACK_BOX: Final = "AML.T0043.001"
MANUAL: Final = "AML.T0043.003"
INFERENCE_API: Final = "AML.T0040"

Party = Literal["target", "attacker", "translator"]
Need = Literal["weights", "prefill", "attacker"]


class NotPossible(Exception):
    """This attack cannot be made on this behaviour or model; the text says why. The others go on."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What an attack tries to get: a request that ought to be refused.

    target: how an answer that complies would begin; attacks that steer the answer aim at it.
    fields: what else the row had, carried through to the results.
    """

    id: str
    text: str
    target: str | None = None
    clauses: tuple[str, ...] = ()
    category: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def opening(self) -> str:
        """The target, or a general one where none was given."""
        return self.target or "Sure, here is what you asked for:"


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one party. Only answers of the target are judged.

    prefill: words put into the assistant's mouth, from which it goes on; they count as part of its answer.
    """

    prompt: Conversation
    sampling: Sampling
    to: Party = "target"
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `success` and `score` (chance that the attack got through) of the target's, or why not.

    refused: whether a helper declined to help.
    """

    completion: Completion
    success: bool | None = None
    score: float | None = None
    label: str | None = None
    unscored: str | None = None
    refused: bool = False


Search = Generator[list[Query], list[Answer], None]


@dataclass(frozen=True, slots=True)
class Spec:
    """An attack's name, what it belongs to, its ATLAS techniques, what it does in one sentence, and what it needs."""

    name: str
    family: str
    techniques: tuple[str, ...]
    summary: str
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a search may know of the run. budget: most queries of the target for one behaviour.

    fits: whether the target's context holds a conversation and its answer; None where that is not known.
    local: the target's weights, for attacks that need them. behaviours: all of the run's, for universal attacks.
    steps, width: of optimisation, and candidates a step. remember: a JSON value by name, made once per model and file.
    """

    budget: int
    sampling: Sampling
    seed: int = 0
    fits: Callable[[Conversation], bool | None] = lambda _: None
    local: LocalModel | None = None
    attacker: bool = False
    translator: bool = False
    behaviours: tuple[Behaviour, ...] = ()
    steps: int = 100
    width: int = 256
    remember: Callable[[str, Callable[[], Any]], Any] = lambda _key, make: make()


class Attack(Protocol):
    """A search over prompts, with a name."""

    @property
    def spec(self) -> Spec: ...

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        """Queries until something got through or the budget is spent. Raises NotPossible where it cannot be made."""
        ...
