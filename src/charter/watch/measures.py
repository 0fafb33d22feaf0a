"""How far a window is from the reference, for many labellings of the pooled rows at once.

A labelling says of each of the M pooled rows whether it counts as window. The observed one and its permutations go
through the same code, so that what a permutation shows is what the measure does when nothing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from charter.watch.columns import Columns
from charter.watch.traffic import Floats

BINS: Final = 10
FOLDS: Final = 5
RIDGE: Final = 1.0
TOP: Final = 0.02
FEWEST_TOP: Final = 10
ROOTS: Final = ("wasserstein", "psi", "js")
Labels = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measure:
    """One number of a window: what is measured (`ks`, `psi`, …), of what, and its clause where it has one."""

    name: str
    of: str
    clause: str | None = None


@dataclass(frozen=True)
class Pool:
    """Reference rows and window rows together, M in all.

    embedded: name to (rows that have one, shape (S,); kernel between these, (S, S); held-out predictor, (S, S)).
    """

    columns: Columns
    size: int
    embedded: Mapping[str, tuple[npt.NDArray[np.int64], Singles, Singles]]


def measure(pool: Pool, labels_BM: Labels) -> tuple[list[Measure], Floats]:
    """(the measures, their values, shape (B, measures)); 0 where one side of a labelling has no row to measure.

    Those named in ROOTS come as their square roots: their permutations are then close to normal.
    """
    names: list[Measure] = []
    found: list[Floats] = []
    for of, values_M in pool.columns.numbers.items():
        for name, values_B in _of_numbers(values_M, labels_BM).items():
            names.append(Measure(name, of))
            found.append(values_B)
    for of, values_M in pool.columns.shares.items():
        names.append(Measure("rate_change", of, pool.columns.clause_of.get(of)))
        found.append(_rate_difference(values_M, labels_BM))
    for of, table_MC in pool.columns.mixes.items():
        names.append(Measure("js", of))
        found.append(_mix_distance(table_MC, labels_BM))
    for of, (rows_S, kernel_SS, predictor_SS) in pool.embedded.items():
        labels_BS = labels_BM[:, rows_S]
        names += [Measure("mmd", of), Measure("c2st_auc", of), Measure("c2st_top", of)]
        found += [mmd(kernel_SS, labels_BS), *held_out(predictor_SS, labels_BS)]
    values_BK = np.stack(found, axis=1) if found else np.zeros((len(labels_BM), 0))
    return names, np.nan_to_num(values_BK, nan=0.0, posinf=0.0, neginf=0.0)


def _of_numbers(values_M: Floats, labels_BM: Labels) -> dict[str, Floats]:
    """Kolmogorov-Smirnov distance, and roots of Wasserstein-1 (in pool standard deviations), PSI and Jensen-Shannon
    divergence, each shape (B,)."""
    present = np.flatnonzero(~np.isnan(values_M))
    order = present[np.argsort(values_M[present], kind="stable")]
    sorted_m = values_M[order]
    window_Bm = np.cumsum(labels_BM[:, order], axis=1, dtype=np.int32)
    total = np.arange(1, sorted_m.size + 1, dtype=np.int32)
    reference_Bm = total - window_Bm
    n_B1, m_B1 = window_Bm[:, -1:].astype(float), reference_Bm[:, -1:].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Only where a run of equal values ends is the difference of the two distribution functions defined.
        ends = np.flatnonzero(np.append(sorted_m[1:] != sorted_m[:-1], True))
        gap_Be = np.abs(window_Bm[:, ends] / n_B1 - reference_Bm[:, ends] / m_B1)
        spread = float(sorted_m.std()) or 1.0
        widths = np.diff(sorted_m[ends]) / spread
        window_Bk, reference_Bk = _binned(window_Bm, reference_Bm, sorted_m)
        return {
            "ks": gap_Be.max(axis=1),
            "wasserstein": np.sqrt(gap_Be[:, :-1] @ widths),
            "psi": np.sqrt(psi(window_Bk, reference_Bk)),
            "js": np.sqrt(jensen_shannon(window_Bk, reference_Bk)),
        }


def _binned(window_Bm: npt.NDArray[np.int32], reference_Bm: npt.NDArray[np.int32], sorted_m: Floats) -> tuple[Any, Any]:
    """Counts between the reference's deciles, each shape (B, BINS): equal values never fall into two bins."""
    last_of_run = np.searchsorted(sorted_m, sorted_m, side="right") - 1
    size_B = reference_Bm[:, -1]
    edges = []
    for part in range(1, BINS):
        wanted_B1 = np.ceil(size_B * part / BINS)[:, None]
        edges.append(last_of_run[np.argmax(reference_Bm >= wanted_B1, axis=1)])
    edges_Bk = np.stack([*edges, np.full(len(size_B), sorted_m.size - 1)], axis=1)
    counts = []
    for cumulative in (window_Bm, reference_Bm):
        upto_Bk = np.take_along_axis(cumulative, edges_Bk, axis=1)
        counts.append(np.diff(upto_Bk, axis=1, prepend=0))
    return counts[0], counts[1]


def psi(window_Bk: Any, reference_Bk: Any) -> Floats:
    """Population stability index over bins, shape (B,): sum of (p - q) ln(p / q), half a row added to each bin."""
    p, q = _shares(window_Bk), _shares(reference_Bk)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1))


def jensen_shannon(window_Bk: Any, reference_Bk: Any) -> Floats:
    """Jensen-Shannon divergence over bins in bits, shape (B,), in [0, 1] (Lin 1991); half a row added to each bin."""
    p, q = _shares(window_Bk), _shares(reference_Bk)
    middle = (p + q) / 2
    kl = [(x * np.log2(x / middle)).sum(axis=1) for x in (p, q)]
    return np.asarray(np.maximum((kl[0] + kl[1]) / 2, 0.0))


def _shares(counts_Bk: Any) -> Floats:
    padded = np.asarray(counts_Bk, dtype=float) + 0.5
    return np.asarray(padded / padded.sum(axis=1, keepdims=True))


def _rate_difference(values_M: Floats, labels_BM: Labels) -> Floats:
    """|asin sqrt p - asin sqrt q| of the rates in window and reference, shape (B,): half of Cohen's h, whose spread
    does not hang on the rate."""
    present = ~np.isnan(values_M)
    ones = labels_BM @ np.where(present, values_M, 0.0)
    counted = labels_BM @ present.astype(float)
    all_ones, everyone = float(values_M[present].sum()), float(present.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        window, reference = ones / counted, (all_ones - ones) / (everyone - counted)
        return np.asarray(np.abs(np.arcsin(np.sqrt(window)) - np.arcsin(np.sqrt(reference))))


def _mix_distance(table_MC: Floats, labels_BM: Labels) -> Floats:
    """sqrt Jensen-Shannon between the two mixes of categories, shape (B,)."""
    clean_MC = np.nan_to_num(table_MC, nan=0.0)
    window_BC = labels_BM @ clean_MC
    return np.sqrt(jensen_shannon(window_BC, clean_MC.sum(axis=0) - window_BC))


def prepare_embedded(embeddings_SD: Singles) -> tuple[Singles, Singles]:
    """(Gaussian kernel with the pool's median distance as bandwidth, held-out predictor), each shape (S, S).

    The predictor P turns a labelling's weights w into scores P w of rows by ridge classifiers that were fitted without
    them: a classifier two-sample test (Lopez-Paz and Oquab 2017) that is refitted for each labelling at the price of a
    matrix product.
    """
    inner_SS = embeddings_SD @ embeddings_SD.T
    norms_S = np.diag(inner_SS)
    squared_SS = np.maximum(norms_S[:, None] + norms_S[None, :] - 2 * inner_SS, 0.0)
    median = float(np.median(squared_SS[np.triu_indices(len(squared_SS), 1)])) if len(squared_SS) > 1 else 1.0
    kernel_SS = np.exp(-squared_SS / max(median, 1e-12)).astype(np.float32)
    return kernel_SS, _held_out_predictor(embeddings_SD - embeddings_SD.mean(axis=0))


def _held_out_predictor(x_SD: Singles) -> Singles:
    size, width = x_SD.shape
    fold_S = np.arange(size) % FOLDS
    predictor_SS = np.zeros((size, size), dtype=np.float32)
    gram_DD = x_SD.T @ x_SD
    scale = RIDGE * float(np.trace(gram_DD)) / width + 1e-6
    for fold in range(FOLDS):
        out, rest = np.flatnonzero(fold_S == fold), np.flatnonzero(fold_S != fold)
        if out.size and rest.size:
            inner_DD = gram_DD - x_SD[out].T @ x_SD[out] + scale * np.eye(width, dtype=np.float32)
            predictor_SS[np.ix_(out, rest)] = x_SD[out] @ np.linalg.solve(inner_DD, x_SD[rest].T)
    return predictor_SS


def _weights(labels_BS: Labels) -> Singles:
    """1/n on the window's rows, -1/m on the reference's, shape (B, S)."""
    n_B1 = labels_BS.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        window, reference = 1.0 / n_B1, -1.0 / (labels_BS.shape[1] - n_B1)
    return np.asarray(np.where(labels_BS, window, reference), dtype=np.float32)


def mmd(kernel_SS: Singles, labels_BS: Labels) -> Floats:
    """Maximum mean discrepancy, shape (B,): the root of the biased estimate of MMD squared (Gretton et al. 2012)."""
    weights_BS = _weights(labels_BS)
    squared_B = np.einsum("bs,bs->b", weights_BS @ kernel_SS, weights_BS)
    return np.asarray(np.sqrt(np.maximum(squared_B, 0.0)), dtype=np.float64)


def held_out(predictor_SS: Singles, labels_BS: Labels) -> tuple[Floats, Floats]:
    """How well the held-out classifiers tell window from reference: (area under the ROC curve, share of window rows
    among the TOP of highest scores), each shape (B,).

    The area sees a change of all rows; the share sees a few rows that are unlike everything else.
    """
    scores_BS = _weights(labels_BS) @ predictor_SS.T
    order_BS = np.argsort(scores_BS, axis=1)
    ranked_BS = np.take_along_axis(labels_BS, order_BS, axis=1)
    n_B = labels_BS.sum(axis=1).astype(float)
    m_B = labels_BS.shape[1] - n_B
    ranks_B = ranked_BS @ np.arange(1, labels_BS.shape[1] + 1, dtype=float)
    top = max(FEWEST_TOP, round(TOP * labels_BS.shape[1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((ranks_B - n_B * (n_B + 1) / 2) / (n_B * m_B)), ranked_BS[:, -top:].mean(axis=1)
