"""Each measure against another implementation, on the observed labelling and on permuted ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from charter.watch.columns import Columns
from charter.watch.measures import FOLDS, RIDGE, Pool, held_out, measure, mmd, prepare_embedded

NAMES = ("ks", "wasserstein", "psi", "js")


def found(values: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    pool = Pool(Columns({"x": values}, {}, {}, {}), len(values), {})
    names, table = measure(pool, labels)
    return {one.name: table[:, k] for k, one in enumerate(names)}


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([2, 5, 1000]))
def test_numbers_agree_with_scipy_ties_and_missing_values_included(seed: int, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, distinct, 60) / distinct
    values[rng.random(60) < 0.1] = np.nan
    labels = np.stack([rng.permutation(np.arange(60) < 20) for _ in range(3)])
    got = found(values, labels)
    for b, label in enumerate(labels):
        window, reference = (values[side & ~np.isnan(values)] for side in (label, ~label))
        spread = values[~np.isnan(values)].std() or 1.0
        assert got["ks"][b] == pytest.approx(ks_2samp(window, reference).statistic)
        assert got["wasserstein"][b] ** 2 == pytest.approx(wasserstein_distance(window, reference) / spread, abs=1e-9)
        # Bins that end at the reference's deciles, each a value of the reference; equal values share a bin.
        ranks = np.ceil(np.arange(1, 10) * len(reference) / 10).astype(int) - 1
        edges = np.concatenate([[-np.inf], np.sort(reference)[ranks], [np.inf]])
        counts = [np.array([((side > low) & (side <= high)).sum() for low, high in pairwise(edges)])
                  for side in (window, reference)]  # fmt: skip
        p, q = ((one + 0.5) / (one + 0.5).sum() for one in counts)
        assert got["psi"][b] ** 2 == pytest.approx(((p - q) * np.log(p / q)).sum(), abs=1e-9)
        assert got["js"][b] == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)


def test_rates_and_mixes() -> None:
    flags = np.array([1, 1, 0, 0, 0, 1, np.nan, 0.0])
    labels = np.array([[1, 1, 1, 1, 0, 0, 0, 0]], dtype=bool)
    table = np.eye(2)[[0, 0, 1, 1, 1, 1, 1, 1]]
    pool = Pool(Columns({}, {"clause a": flags}, {"m": table}, {"clause a": "a"}), 8, {})
    names, values = measure(pool, labels)
    assert [(one.name, one.of, one.clause) for one in names] == [("rate_change", "clause a", "a"), ("js", "m", None)]
    assert values[0, 0] == pytest.approx(np.arcsin(np.sqrt(2 / 4)) - np.arcsin(np.sqrt(1 / 3)))
    assert values[0, 1] == pytest.approx(jensenshannon([2.5, 2.5], [0.5, 4.5], base=2))


def test_mmd_is_the_mean_of_kernels() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 5)).astype(np.float32)
    kernel, _ = prepare_embedded(x)
    label = np.arange(30) % 3 == 0
    squared = np.square(x[:, None] - x[None]).sum(-1)
    k = np.exp(-squared / np.median(squared[np.triu_indices(30, 1)]))
    wanted = k[np.ix_(label, label)].mean() + k[np.ix_(~label, ~label)].mean() - 2 * k[np.ix_(label, ~label)].mean()
    assert mmd(kernel, label[None])[0] ** 2 == pytest.approx(wanted, rel=1e-4)


def test_the_classifier_never_saw_the_rows_it_scores() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    label = rng.permutation(np.arange(40) < 15)
    x[label, 0] += 1.0
    _, predictor = prepare_embedded(x)
    weights = np.where(label, 1 / 15, -1 / 25)
    centred = x - x.mean(axis=0)
    scale = RIDGE * np.trace(centred.T @ centred) / 6 + 1e-6
    scores = np.empty(40)
    for fold in range(FOLDS):
        out = np.arange(40) % FOLDS == fold
        rest = centred[~out]
        coefficients = np.linalg.solve(rest.T @ rest + scale * np.eye(6), rest.T @ weights[~out])
        scores[out] = centred[out] @ coefficients
    wanted = np.mean([a > b for a in scores[label] for b in scores[~label]])
    (auc,), (top,) = held_out(predictor, label[None])
    assert auc == pytest.approx(wanted, abs=1e-6)
    assert top == pytest.approx(label[np.argsort(scores)[-10:]].mean())
    assert wanted > 0.6
