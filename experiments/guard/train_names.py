"""Generate sentences with names, places and addresses, train the tagger of `guard/names.py`, and measure it.

    python experiments/guard/train_names.py DATA_FOLDER

Needs `faker` (MIT), which makes up the names. Sentence patterns are this project's own. Measured on presidio-synthetic
(MIT), of which no row trains anything; some sixty of its sentences were read before the patterns were written.
"""

# ruff: noqa: E501  (tables)

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import numpy as np
import torch
from name_patterns import COMPANIES, PATTERNS, THINGS
from safetensors.numpy import save
from torch.nn import functional as F

from charter.feedback.pairs import load_benign_prompts
from charter.guard.layers.pii import personal_data
from charter.guard.names import BUCKETS, TAGS, WEIGHTS, features, names, tokens
from charter.guard.verdicts import Span

LOCALES = ["en_US", "en_GB", "en_AU", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "sv_SE", "no_NO", "da_DK",
           "fi_FI", "cs_CZ", "hu_HU", "pt_BR", "hr_HR", "sl_SI", "tr_TR", "en_IN", "ro_RO"]  # fmt: skip
SENTENCES, EPOCHS, RATE = 14_000, 4, 0.02
KIND = {"P": "PERSON", "L": "LOCATION", "A": "STREET_ADDRESS"}


def sentence(draw: random.Random, fakers: list) -> tuple[str, list[Span]]:
    """One pattern filled: the text and where its names lie. Capitals are dropped or raised now and then."""
    fake = draw.choice(fakers)
    local = draw.choice(fakers)
    makers = {
        "P": lambda: draw.choice([fake.first_name, fake.last_name, fake.name_nonbinary if hasattr(fake, "name_nonbinary") else fake.name,
                                  lambda: f"{fake.first_name()} {fake.last_name()}", lambda: f"{fake.first_name()} {fake.last_name()}",
                                  lambda: f"{fake.first_name()} {fake.random_uppercase_letter()}. {fake.last_name()}"])(),
        "L": lambda: draw.choice([local.city, local.city, fakers[0].country, lambda: f"{local.city()}"])(),
        "A": lambda: draw.choice([local.street_address, local.street_address, lambda: local.address(),
                                  lambda: f"{draw.randint(1, 9999)} {local.street_name()} {draw.choice(['Apt.', 'Suite', 'Unit'])} {draw.randint(1, 999)}",
                                  lambda: f"{local.street_name()} {draw.randint(1, 300)}"])(),
        "C": lambda: draw.choice([draw.choice(COMPANIES), fake.company()]),
        "T": lambda: draw.choice(THINGS),
        "N": lambda: str(draw.randint(1, 99)),
    }  # fmt: skip
    out, spans = "", []
    for part in re.split(r"(\{[A-Z]\})", draw.choice(PATTERNS)):
        if not re.fullmatch(r"\{[A-Z]\}", part):
            out += part
            continue
        said = str(makers[part[1]]()).strip()
        chance = draw.random()
        said = said.lower() if chance < 0.08 else said.upper() if chance < 0.14 else said
        if part[1] in KIND and len(said.lower()) == len(said):
            spans.append(Span(len(out), len(out) + len(said), KIND[part[1]]))
        out += said
    return out, spans


def rows(count: int, seed: int) -> list[tuple[str, list[Span]]]:
    from faker import Faker

    draw = random.Random(seed)
    fakers = [Faker(locale) for locale in LOCALES]
    for i, fake in enumerate(fakers):
        fake.seed_instance(seed * 1000 + i)
    made = [sentence(draw, fakers) for _ in range(count)]
    plain = [p.prompt for p in load_benign_prompts({"general"})] + [p.prompt for p in load_benign_prompts({"alarming"})]
    # Built-in prompts name few people and places; those with a capital inside are left out, the rest have none.
    empty = [(p, []) for p in plain if not re.search(r"(?<=[a-z,] )[A-Z][a-z]", p)]
    return made + empty


def labelled(made: list[tuple[str, list[Span]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, F) and tags (N,) of all words."""
    parts, tags = [], []
    for text, spans in made:
        found = tokens(text)
        if not found:
            continue
        parts.append(features([word for word, _, _ in found]))
        for _, start, end in found:
            kind = next((s.kind for s in spans if s.start <= start and end <= s.end), "")
            tags.append(TAGS.index(kind))
    return torch.from_numpy(np.concatenate(parts)), torch.tensor(tags)


def fit(x_NF: torch.Tensor, y_N: torch.Tensor) -> np.ndarray:
    """The table of evidence, (buckets, tags): multinomial logistic regression with dropped features."""
    torch.manual_seed(0)
    table = torch.zeros(BUCKETS, len(TAGS), requires_grad=True)
    optimiser = torch.optim.Adagrad([table], lr=0.15)
    for _ in range(EPOCHS):
        for pick in torch.randperm(len(x_NF)).split(512):
            keep = (torch.rand(len(pick), x_NF.shape[1]) > 0.25).float()
            logits = F.embedding_bag(x_NF[pick], table, per_sample_weights=keep, mode="sum")
            optimiser.zero_grad()
            F.cross_entropy(logits, y_N[pick]).backward()
            optimiser.step()
    return (table.detach() * 0.75).half().numpy()


THEIRS = {"GPE": "LOCATION", "ADDRESS": "STREET_ADDRESS", "DOMAIN_NAME": "", "DATE_TIME": "", "TITLE": "", "PREFIX": "",
          "ORGANIZATION": "", "AGE": "", "NRP": "", "ZIP_CODE": "STREET_ADDRESS"}  # fmt: skip


def measure(path: Path) -> dict[str, dict[str, float]]:
    """Precision and recall by kind: a span counts as found when at least half of it is covered by ours of its kind,
    and one of ours as right when at least half of it lies in one of theirs of its kind."""
    counts: dict[str, list[int]] = {}
    for row in json.loads(path.read_text(encoding="utf-8")):
        text = row["full_text"]
        theirs = [
            Span(s["start_position"], s["end_position"], THEIRS.get(s["entity_type"], s["entity_type"]))
            for s in row["spans"]
        ]
        ours = personal_data(text)
        ours += [s for s in names(text) if not any(s.start < o.end and o.start < s.end for o in ours)]
        for kind in {s.kind for s in (*theirs, *ours)} - {""}:
            c = counts.setdefault(kind, [0, 0, 0, 0])
            for span, others, place in [(s, ours, 0) for s in theirs if s.kind == kind] + [
                (s, theirs, 2) for s in ours if s.kind == kind
            ]:
                covered = sum(max(0, min(span.end, o.end) - max(span.start, o.start)) for o in others if o.kind == kind)
                c[place] += covered >= (span.end - span.start) / 2
                c[place + 1] += 1
    return {
        kind: {"n": c[1], "recall": round(c[0] / c[1], 3) if c[1] else float("nan"), "found": c[3],
               "precision": round(c[2] / c[3], 3) if c[3] else float("nan")}
        for kind, c in sorted(counts.items())
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    x_NF, y_N = labelled(rows(SENTENCES, 0))
    print(f"{len(x_NF)} words, {(y_N > 0).float().mean():.2f} in names", flush=True)
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    WEIGHTS.write_bytes(save({"table": fit(x_NF, y_N)}))
    for name in ("synth_dataset_v2.json", "generated_large.json"):
        found = measure(options.data / "presidio-synthetic" / name)
        print(name, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
