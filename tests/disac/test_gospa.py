"""GOSPA against its definition over all assignments, and the axioms of a metric."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from disac.metrics.gospa import gospa


def sets(most: int = 3) -> st.SearchStrategy[np.ndarray]:
    size = st.integers(0, most)
    return size.flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.floats(-5.0, 5.0, width=32)))


def by_definition(x: np.ndarray, y: np.ndarray, cutoff: float, power: float) -> float:
    best = np.inf
    for size in range(min(len(x), len(y)) + 1):
        for rows in combinations(range(len(x)), size):
            for columns in permutations(range(len(y)), size):
                near = sum(np.linalg.norm(x[i] - y[j]) ** power for i, j in zip(rows, columns, strict=True))
                best = min(best, near + 0.5 * cutoff**power * (len(x) + len(y) - 2 * size))
    return float(best ** (1.0 / power))


@settings(deadline=None, max_examples=60)
@given(sets(), sets(), st.sampled_from([1.0, 2.0]), st.sampled_from([0.5, 3.0]))
def test_is_the_best_assignment(x: np.ndarray, y: np.ndarray, power: float, cutoff: float) -> None:
    assert gospa(x, y, cutoff, power).distance_m == pytest.approx(by_definition(x, y, cutoff, power), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(sets(), sets(), sets())
def test_is_a_metric(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    def d(a: np.ndarray, b: np.ndarray) -> float:
        return gospa(a, b, 2.0).distance_m

    assert d(x, x) == 0.0
    assert d(x, y) == pytest.approx(d(y, x))
    assert d(x, z) <= d(x, y) + d(y, z) + 1e-9


def test_counts_and_pairs() -> None:
    score = gospa(np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[10.3, 0.4], [50.0, 0.0], [60.0, 0.0]]), 1.0)
    assert (score.missed, score.false, score.pairs.tolist()) == (1, 2, [[1, 0]])
    assert score.distance_m**2 == pytest.approx(0.25 + 0.5 * 3)


def test_refuses_what_is_no_metric() -> None:
    with pytest.raises(ValueError, match="cut-off"):
        gospa(np.zeros((1, 2)), np.zeros((1, 2)), 0.0)
