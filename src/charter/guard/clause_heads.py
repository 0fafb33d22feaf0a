"""Heads for the clauses of a charter: one logistic regression a clause on the embedding of the prompt.

A clause gets a head when its `guard:` lists classifier, scope or person, or when its kind is `person`. Examples come
from its topics and rule, put into everyday forms of asking, from the built-in pairs that name the clause, and from a
file. Harmless counter-examples are the built-in benign prompts and look-alikes, and what the other clauses ask for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from charter.document import Charter, Clause
from charter.errors import UserError
from charter.guard.head import sigmoid

Floats = NDArray[np.float32]
Role = Literal["classifier", "scope", "person"]
FORMAT: Final = 1
FPR: Final = 0.02
"""Share of harmless prompts that a clause may stop; its threshold is set there, on prompts its head did not see."""
MIN_EXAMPLES: Final = 8
FOLDS: Final = 4
RIDGE: Final = 3.0
_FORMS: Final = (
    "{t}", "How do I get help with {t}?", "Tell me about {t}.", "I have a question about {t}.",
    "Can you help me with {t}?",
    "What should I do about {t}?", "Explain {t} to me.", "Should I worry about {t}?", "Give me advice on {t}.",
    "I need to decide something about {t} today.", "Write a text about {t}.", "What do you think of {t}?",
)  # fmt: skip


@dataclass(frozen=True)
class ClauseHead:
    """One clause's head: score = sigmoid(w·x + b), shifted so that 0.5 is its threshold.

    role scope turns it round: examples are what is in scope, and what is unlike them is stopped.
    """

    clause: str
    role: Role
    weight_D: Floats
    bias: float
    answer: str
    """The charter's fixed text, for what is held (`instead`); may be empty."""

    def score(self, embedding_D: Floats) -> float:
        """How likely the clause should stop a text of that embedding; 0.5 is the threshold."""
        return sigmoid(float(self.weight_D @ embedding_D) + self.bias)


@dataclass(frozen=True, slots=True)
class HeadReport:
    """What training a head came to: examples and harmless prompts it used, where the threshold lies, and the recall
    and false-positive rate on held-out folds there."""

    clause: str
    role: Role
    examples: int
    harmless: int
    recall: float
    false_positives: float


def roles(clause: Clause) -> Role | None:
    """Which head a clause asks for, if any."""
    if "person" in clause.guard or clause.kind == "person":
        return "person"
    if "scope" in clause.guard:
        return "scope"
    return "classifier" if "classifier" in clause.guard else None


def examples_of(clause: Clause, given: Mapping[str, Sequence[str]]) -> list[str]:
    """Prompts that the clause is about: given ones, built-in ones, and its topics and rule in everyday forms."""
    from charter.feedback.pairs import load_pairs

    built_in = [pair.prompt for pair in load_pairs("harmful") if clause.id in pair.clauses]
    composed = [form.format(t=topic) for topic in clause.topics for form in _FORMS] + [clause.rule]
    return list(dict.fromkeys([*given.get(clause.id, ()), *built_in, *composed]))


def harmless_prompts() -> list[str]:
    """Built-in prompts that no clause should stop unless it is about them."""
    from charter.feedback.pairs import load_benign_prompts, load_pairs

    return [p.prompt for p in load_benign_prompts()] + [p.prompt for p in load_pairs({"lookalike", "plain"})]


def logistic(
    x_ND: Floats, y_N: Floats, weight_N: Floats, ridge: float = RIDGE, steps: int = 12
) -> tuple[Floats, float]:
    """Weights and bias of a ridge logistic regression, by Newton's method."""
    design = np.concatenate([x_ND, np.ones((len(x_ND), 1))], axis=1).astype(np.float64)
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 1e-6
    beta = np.zeros(design.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight_N * (chance - y_N)) + penalty * beta
        curvature = (design * (weight_N * np.maximum(chance * (1 - chance), 1e-6))[:, None]).T @ design
        beta -= np.linalg.solve(curvature + np.diag(penalty), gradient)
    return beta[:-1].astype(np.float32), float(beta[-1])


def fold_of(text: str) -> int:
    """Which fold holds a text out: by its hash, so that it never changes."""
    return hashlib.sha256(text.encode()).digest()[0] % FOLDS


def fit_head(
    clause: Clause, role: Role, examples: tuple[list[str], Floats], harmless: tuple[list[str], Floats], fpr: float = FPR
) -> tuple[ClauseHead, HeadReport]:
    """The clause's head, its threshold set at `fpr` on harmless prompts held out fold by fold.

    For scope the two change places: the threshold lets all but `fpr` of the held-out examples in.
    """
    texts, x_ND = [*examples[0], *harmless[0]], np.concatenate([examples[1], harmless[1]])
    y_N = np.array([1.0] * len(examples[0]) + [0.0] * len(harmless[0]), dtype=np.float32)
    share = max(len(examples[0]), 1) / len(texts)
    weight_N = np.where(y_N > 0, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)
    folds = np.array([fold_of(text) for text in texts])
    held = np.zeros(len(texts), dtype=np.float32)
    for fold in range(FOLDS):
        rest = folds != fold
        if not (y_N[rest] > 0).any():
            rest = np.ones(len(texts), dtype=bool)
        w, b = logistic(x_ND[rest], y_N[rest], weight_N[rest])
        held[folds == fold] = x_ND[folds == fold] @ w + b
    w, b = logistic(x_ND, y_N, weight_N)
    if role == "scope":
        limit = float(np.quantile(held[y_N > 0], fpr))
        head = ClauseHead(clause.id, role, -w, limit - b, clause.instead or "")
        stopped = held < limit
        report = HeadReport(
            clause.id,
            role,
            len(examples[0]),
            len(harmless[0]),
            float(stopped[y_N == 0].mean()),
            float(stopped[y_N > 0].mean()),
        )
        return head, report
    limit = float(np.quantile(held[y_N == 0], 1 - fpr))
    head = ClauseHead(clause.id, role, w, b - limit, clause.instead or "")
    stopped = held > limit
    return head, HeadReport(
        clause.id,
        role,
        len(examples[0]),
        len(harmless[0]),
        float(stopped[y_N > 0].mean()),
        float(stopped[y_N == 0].mean()),
    )


def train(
    charter: Charter,
    embed: Callable[[Sequence[str]], Floats],
    given: Mapping[str, Sequence[str]] | None = None,
    fpr: float = FPR,
) -> tuple[list[ClauseHead], list[HeadReport]]:
    """Heads for every clause that asks for one, in the charter's order.

    embed: texts to embeddings, shape (N, 384). given: clause id to example prompts. Raises UserError when a clause has
    too few examples, or `given` names a clause that is not in the charter.
    """
    given = given or {}
    for name in given:
        charter.clause(name)
    wanted = [(clause, role) for clause in charter.clauses if (role := roles(clause))]
    examples = {clause.id: examples_of(clause, given) for clause, _ in wanted}
    for clause, _ in wanted:
        if len(examples[clause.id]) < MIN_EXAMPLES:
            raise UserError(
                f"{charter.path}: clause {clause.id} asks for a guard head but gives {len(examples[clause.id])} "
                f"examples; {MIN_EXAMPLES} are needed. List `topics:` in the clause, or give prompts with --examples."
            )
    harmless = harmless_prompts() if wanted else []
    texts = list(dict.fromkeys([*harmless, *(text for found in examples.values() for text in found)]))
    place = {text: i for i, text in enumerate(texts)}
    table = embed(texts) if texts else np.empty((0, 1), dtype=np.float32)

    def rows(found: Sequence[str]) -> tuple[list[str], Floats]:
        return list(found), table[[place[text] for text in found]]

    heads, reports = [], []
    for clause, role in wanted:
        own = examples[clause.id]
        others = [] if role == "scope" else [t for name, found in examples.items() if name != clause.id for t in found]
        against = [text for text in dict.fromkeys([*harmless, *others]) if text not in set(own)]
        head, report = fit_head(clause, role, rows(own), rows(against), fpr)
        heads.append(head)
        reports.append(report)
    return heads, reports


def save(
    folder: Path, charter: Charter, heads: Sequence[ClauseHead], reports: Sequence[HeadReport], encoder: str
) -> None:
    """Write clauses.safetensors and clauses.json into the folder, each whole or not at all."""
    from dataclasses import asdict

    from safetensors.numpy import save as as_bytes

    from charter.records import write_text

    folder.mkdir(parents=True, exist_ok=True)
    blob = as_bytes({head.clause: head.weight_D for head in heads})
    temporary = folder / f".clauses.{hashlib.sha256(blob).hexdigest()[:8]}.tmp"
    temporary.write_bytes(blob)
    temporary.replace(folder / "clauses.safetensors")
    meta: dict[str, Any] = {
        "format": FORMAT, "charter": charter.name, "version": charter.version, "charter_sha256": charter.digest,
        "encoder": encoder, "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "heads": [{"clause": h.clause, "role": h.role, "bias": h.bias, "answer": h.answer} for h in heads],
        "measured": [asdict(report) for report in reports],
    }  # fmt: skip
    write_text(folder / "clauses.json", json.dumps(meta, indent=1, ensure_ascii=False) + "\n")


def load(folder: Path, charter: Charter) -> list[ClauseHead]:
    """The heads in the folder. Raises UserError when they are absent, damaged, or were trained for another charter."""
    from safetensors.numpy import load as from_bytes

    path = folder / "clauses.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        blob = (folder / "clauses.safetensors").read_bytes()
        same = hashlib.sha256(blob).hexdigest() == meta["weights_sha256"] and meta["format"] == FORMAT
        trained_for = meta["charter_sha256"]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise UserError(
            f"{path}: no guard heads can be read there ({error}). Make them with: charter guard train"
        ) from None
    if not same:
        raise UserError(f"{path} and clauses.safetensors do not belong together. Run charter guard train again.")
    if trained_for != charter.digest:
        raise UserError(
            f"{path}: these heads were trained for another version of the charter ({meta['charter']} "
            f"{meta['version']}). "
            f"Run: charter guard train --charter {charter.path} --out {folder}"
        )
    weights = from_bytes(blob)
    return [ClauseHead(h["clause"], h["role"], weights[h["clause"]], h["bias"], h["answer"]) for h in meta["heads"]]
