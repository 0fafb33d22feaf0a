"""Embeddings of what rows say: as stored with the verdict, otherwise computed from the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

from charter.errors import UserError
from charter.watch.replay import Embedded
from charter.watch.traffic import Traffic

Texts = Literal["prompts", "both", "none"]
BATCH: Final = 256


def embed_sides(
    sides: tuple[Traffic, Traffic], which: Texts, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[tuple[Embedded, Embedded], list[str]]:
    """(embeddings of the two sides by "prompt" and "completion", notes). Each distinct text is embedded once.

    Texts that only one side has are left out. Raises UserError when stored embeddings differ in length.
    """
    if which == "none":
        return ({}, {}), ["Embeddings: not used, as asked; drift of what is said shows only in lengths and scores."]
    wanted = {"prompt": [side.prompts for side in sides]}
    if which == "both":
        wanted["completion"] = [side.completions for side in sides]
    wanted = {name: texts for name, texts in wanted.items() if all(any(t and t.strip() for t in s) for s in texts)}
    stored = [row for side in sides for row in side.embeddings if row is not None]
    widths = {len(row) for row in stored}
    if len(widths) > 1:
        raise UserError(f"Stored embeddings have {sorted(widths)} numbers. Give rows embedded by one model.")
    complete = all(row is not None for side in sides for row in side.embeddings)
    notes = [f"{name} embeddings: could not be computed, since one side has no {name} texts."
             for name in ("prompt", "completion") if name not in wanted and (name == "prompt" or which == "both")
             and not (name == "prompt" and complete)]  # fmt: skip
    found: tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, tuple[np.ndarray, np.ndarray]]] = ({}, {})
    if complete:
        wanted.pop("prompt", None)
        for side, out in zip(sides, found, strict=True):
            vectors = np.array(side.embeddings, dtype=np.float32)
            out["prompt"] = (np.ones(len(side), dtype=bool), _unit(vectors))
    elif stored:
        notes.append("Stored embeddings: not used, since some rows have none; all are computed from the texts.")
    texts = sorted({t for sides_ in wanted.values() for side in sides_ for t in side if t and t.strip()})
    if not texts:
        return found, notes
    try:
        vectors = _computed(texts, progress)
    except UserError as error:
        return found, [*notes, f"Embeddings: could not be computed. {error}"]
    place = {text: n for n, text in enumerate(texts)}
    for name, columns in wanted.items():
        for column, out in zip(columns, found, strict=True):
            has = np.array([bool(t and t.strip()) for t in column])
            index = [place[t] if t and t.strip() else 0 for t in column]
            out[name] = (has, vectors[index] * has[:, None])
    return found, notes


def _computed(texts: Sequence[str], progress: Callable[[int, int], None]) -> np.ndarray:
    from charter.models.embedding import embedder

    model = embedder()
    # Of like length side by side, so that a batch holds little padding; the embedder keeps the order it is given.
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    out: np.ndarray | None = None
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        vectors = model.embed([texts[n] for n in part]).numpy()
        out = np.empty((len(texts), vectors.shape[1]), dtype=np.float32) if out is None else out
        out[part] = vectors
        progress(min(start + BATCH, len(order)), len(order))
    assert out is not None
    return out


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return np.asarray(vectors_ND / np.where(norms > 0, norms, 1.0), dtype=np.float32)
