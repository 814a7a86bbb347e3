"""Lengths of steps along a direction, against eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest

from disac.optim.steps import longest


def hermitian(r: np.random.Generator, *shape: int) -> np.ndarray:
    factor = r.standard_normal(shape) + 1j * r.standard_normal(shape)
    return factor + factor.conj().swapaxes(-1, -2)


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("worst", [0, -1])
@pytest.mark.parametrize("curved", [False, True])
def test_the_longest_step_is_that_of_the_worst_matrix(count: int, worst: int, curved: bool) -> None:
    r = np.random.default_rng(count)
    base = np.tile(np.eye(4, dtype=complex), (count, 3, 1, 1))
    linear = 0.05 * hermitian(r, count, 3, 4, 4)
    linear[worst, 1] *= 50.0
    factor = r.standard_normal((count, 1, 4, 4))
    bent = 0.1 * factor @ factor.swapaxes(-1, -2) + 0j if curved else None
    found = longest(base, linear, bent, 1.2, 1e-4)

    def least(a: float) -> float:
        return float(np.linalg.eigvalsh(base + a * linear - (0.0 if bent is None else a * a * bent)).min())

    assert 0.0 < found < 1.2
    assert least(found) > 0.0
    assert least(found * (1.0 + 2e-4)) < 0.0


def test_no_step_is_longer_than_what_is_asked() -> None:
    base = np.tile(np.eye(3, dtype=complex), (20, 2, 1, 1))
    assert longest(base, 0.1 * base, None, 1.2, 0.03) == 1.2
