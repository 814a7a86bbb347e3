"""Boxes of a lattice: their samples, and the interpolation between these, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.refining.boxes import Box, pattern

LENGTHS = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple)


@given(LENGTHS)
def test_the_interpolant_has_the_values_of_all_samples(lengths: tuple[int, ...]) -> None:
    own = pattern(lengths)
    values = np.random.default_rng(1).normal(size=len(own.offsets))
    np.testing.assert_allclose(own.weights(own.offsets.astype(float)) @ values, values, atol=1e-12)
    np.testing.assert_allclose((own.block @ values)[own.inside], values, atol=1e-12)


@given(LENGTHS)
def test_a_multilinear_function_has_no_surplus_and_is_repeated_everywhere(lengths: tuple[int, ...]) -> None:
    own = pattern(lengths)
    random = np.random.default_rng(2)
    factors = random.normal(size=(2, len(lengths)))

    def function(points: np.ndarray) -> np.ndarray:
        return np.prod(factors[0] + factors[1] * points, axis=1)

    values = function(own.offsets.astype(float))
    np.testing.assert_allclose((own.surpluses @ values)[own.corners :], 0.0, atol=1e-9)
    points = random.uniform(0, lengths, size=(20, len(lengths)))
    np.testing.assert_allclose(own.weights(points) @ values, function(points), atol=1e-9)


@given(st.tuples(st.integers(2, 9), st.integers(2, 9)))
def test_in_two_dimensions_it_repeats_every_biquadratic_function(lengths: tuple[int, int]) -> None:
    own = pattern(lengths)
    random = np.random.default_rng(3)
    factors = random.normal(size=(3, 3))
    values = np.polynomial.polynomial.polyval2d(*own.offsets.T.astype(float), factors)
    points = random.uniform(0, lengths, size=(20, 2))
    expected = np.polynomial.polynomial.polyval2d(*points.T, factors)
    np.testing.assert_allclose(own.weights(points) @ values, expected, rtol=1e-9, atol=1e-9 * np.abs(values).max())


def test_the_surplus_of_an_edge_is_the_error_of_linear_interpolation_at_its_middle() -> None:
    own = pattern((8, 2))
    values = (own.offsets[:, 0] ** 2).astype(float)
    surplus = own.surpluses @ values
    assert surplus[own.axis == 0] == pytest.approx([-16.0, -16.0])
    assert surplus[own.axis == 1] == pytest.approx([0.0, 0.0])
    assert surplus[own.axis == -2] == pytest.approx([0.0])


@pytest.mark.parametrize(
    ("lengths", "samples"), [((2, 2), 9), ((1, 1), 4), ((1, 4), 6), ((2, 2, 2), 21), ((1, 2, 2), 18), ((5,), 3)]
)
def test_samples_are_corners_middles_of_edges_and_the_centre(lengths: tuple[int, ...], samples: int) -> None:
    own = pattern(lengths)
    assert len(own.offsets) == len(np.unique(own.offsets, axis=0)) == samples


def test_halves_share_the_middle() -> None:
    box = Box((0, 4), (5, 6))
    assert box.halves(0) == (Box((0, 4), (2, 6)), Box((2, 4), (5, 6)))
    assert box.lengths == (5, 2)
    assert Box((0, 4), (1, 6)).divisible == (1,)
