"""Which texts are nearly the same: MinHash over word 3-grams, and nearness of sentence embeddings."""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from charter.overlap import shingles

HASHES: Final = 64
BANDS: Final = 16
"""Bands of four hashes each: two texts of similarity s share one with chance 1 - (1 - s^4)^16, 98.7% at s = 0.7."""
JACCARD: Final = 0.7
COSINE: Final = 0.95
LONGEST: Final = 2000
"""Shingles of a text that are hashed, the smallest by hash: a text of 1 MB costs no more than a page."""
CROWD: Final = 50
"""Members of one bucket that a text is compared with; identical texts beyond that are found by their hash anyway."""

_PRIME: Final = (1 << 31) - 1


def signatures(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """MinHash signatures, shape (N, HASHES): the share of equal entries estimates Jaccard similarity (Broder 1997)."""
    rng = np.random.default_rng(20241)
    factor_H = rng.integers(1, _PRIME, HASHES, dtype=np.uint64)
    offset_H = rng.integers(0, _PRIME, HASHES, dtype=np.uint64)
    out_NH = np.empty((len(texts), HASHES), dtype=np.uint32)
    for n, text in enumerate(texts):
        codes = sorted({zlib.crc32(" ".join(gram).encode("utf-8", "replace")) % _PRIME for gram in shingles(text)})
        codes_G = np.array(codes[:LONGEST] or [0], dtype=np.uint64)
        out_NH[n] = ((codes_G[:, None] * factor_H + offset_H) % _PRIME).min(axis=0)
    return out_NH


def alike_by_words(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs whose signatures agree in JACCARD of their entries or more. Pairs of identical texts come as a chain."""
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    distinct: list[int] = []
    for n, text in enumerate(texts):
        key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        if key in first:
            pairs.append((first[key], n))
        else:
            first[key] = n
            distinct.append(n)
    signatures_DH = signatures([texts[n] for n in distinct])
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    rows = HASHES // BANDS
    for d, signature in enumerate(signatures_DH):
        near: set[int] = set()
        for band in range(BANDS):
            bucket = buckets[band, signature[band * rows : (band + 1) * rows].tobytes()]
            near.update(bucket[-CROWD:])
            bucket.append(d)
        if near:
            others = np.fromiter(sorted(near), dtype=np.int64)
            agree = (signatures_DH[others] == signature).mean(axis=1)
            pairs += [(distinct[o], distinct[d]) for o in others[agree >= JACCARD].tolist()]
    return pairs


def alike_by_meaning(
    rows: npt.NDArray[np.int64], embeddings_SD: npt.NDArray[np.float32], progress: Callable[[int], None] | None = None
) -> list[tuple[int, int]]:
    """Pairs of rows whose embeddings (each of length one) have a cosine of COSINE or more."""
    pairs: list[tuple[int, int]] = []
    step = 512
    for start in range(0, len(rows), step):
        cosines = embeddings_SD[start : start + step] @ embeddings_SD.T
        left, right = np.nonzero(cosines >= COSINE)
        later = right > left + start
        pairs += zip(rows[left[later] + start].tolist(), rows[right[later]].tolist(), strict=True)
        if progress:
            progress(min(start + step, len(rows)))
    return pairs


def clusters(texts: Sequence[str | None], pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups of two texts or more around a leader that all its members are like; no text is in two.

    Texts take their turns as leaders by number of neighbours, then by a hash of the text: never by their place, which
    would tell the reference from the stream.
    """
    neighbours: dict[int, set[int]] = defaultdict(set)
    for a, b in pairs:
        neighbours[a].add(b)
        neighbours[b].add(a)
    # Identical texts come as a chain to the first of them; here each becomes a neighbour of all the others' neighbours.
    same: dict[str, list[int]] = defaultdict(list)
    for n in neighbours:
        same[texts[n] or ""].append(n)
    for group in same.values():
        joined = set(group).union(*(neighbours[n] for n in group))
        for n in group:
            neighbours[n] = joined - {n}
    for n, others in list(neighbours.items()):
        for other in others:
            neighbours[other].add(n)

    def turn(n: int) -> tuple[int, bytes]:
        return -len(neighbours[n]), hashlib.blake2b((texts[n] or "").encode("utf-8", "replace")).digest()

    taken: set[int] = set()
    found = []
    for leader in sorted(neighbours, key=turn):
        if leader in taken:
            continue
        members = sorted({leader, *neighbours[leader]} - taken)
        taken.update(members)
        if len(members) > 1:
            found.append(members)
    return sorted(found)
