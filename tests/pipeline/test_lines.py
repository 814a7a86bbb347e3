"""The estimate on a line of samples, against functions with a kink at a known place and against cubic functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.refining.lines import Lines, half_error

PLACES = np.array([0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0])  # the box reaches from 8 to 16
ODD = np.array([1.0, 6.0, 8.0, 10.0, 13.0, 16.0, 22.0])


def quiet(gain: float) -> float:
    return 0.0


def estimate(function: Callable[[np.ndarray], np.ndarray], places: np.ndarray, unknown: tuple[int, ...] = ()) -> float:
    known = places.copy()
    known[list(unknown)] = np.nan
    return float(half_error(Lines(known[np.newaxis], function(known)[np.newaxis]), quiet)[0])


def error(function: Callable[[np.ndarray], np.ndarray], places: np.ndarray) -> float:
    """Largest error of the parabola through the three samples, between the middle and the high end."""
    samples = places[2:5]
    between = np.linspace(places[3], places[4], 201)
    parabola = np.polynomial.Polynomial.fit(samples, function(samples), 2)
    return float(np.abs(parabola(between) - function(between)).max())


@given(
    st.sampled_from([PLACES, ODD]),
    st.floats(-5.0, 5.0),
    st.floats(-0.2, 0.2),
    st.floats(0.0, 1.0),
    st.sampled_from([(), (0,), (6,), (0, 1), (5, 6), (0, 5, 6), (6, 0)]),
)
def test_a_kink_on_a_parabola_is_never_underrated(
    places: np.ndarray, strength: float, curvature: float, share: float, unknown: tuple[int, ...]
) -> None:
    at = places[3] + share * (places[4] - places[3])

    def function(x: np.ndarray) -> np.ndarray:
        return 1.0 - 0.3 * x + curvature * (x - 10.0) ** 2 + strength * np.maximum(0.0, x - at)

    if not {0, 1} & set(unknown) or not {5, 6} & set(unknown):  # a curvature beyond the two samples is known
        assert estimate(function, places, unknown) >= error(function, places) - 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_kink_that_hides_behind_the_curvature_is_seen(sign: float) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return sign * (-0.05 * (x - 12.0) ** 2 + 0.8 * np.maximum(0.0, x - 14.0))

    # The second difference at the middle vanishes, so the samples of the box alone show a straight line.
    assert function(PLACES[2:5]) @ np.array([1.0, -2.0, 1.0]) == pytest.approx(0.0, abs=1e-12)
    assert estimate(function, PLACES) >= error(function, PLACES) > 0.5


@given(st.floats(-1e-2, 1e-2), st.sampled_from([PLACES, ODD]))
def test_a_cubic_function_is_not_underrated(third: float, places: np.ndarray) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return third * (x - 9.0) ** 3 + 0.1 * x**2

    found = estimate(function, places)
    assert error(function, places) - 1e-9 <= found
    if places is PLACES:
        assert found <= 1.31 * error(function, places) + 1e-9


def test_a_parabola_has_no_error_and_a_mirrored_line_is_the_other_half() -> None:
    assert estimate(lambda x: 3.0 - x + 0.7 * x**2, PLACES) == pytest.approx(0.0, abs=1e-9)

    def late(x: np.ndarray) -> np.ndarray:
        return np.maximum(0.0, 10.0 - x)

    line = Lines(PLACES[np.newaxis], late(PLACES)[np.newaxis])
    assert half_error(line, quiet)[0] == pytest.approx(0.0, abs=1e-9)
    assert half_error(line.mirrored(), quiet)[0] == pytest.approx(1.0 + 0.5 * 0.5, abs=1e-9)  # kink and bow


def test_a_kink_within_the_noise_counts_for_nothing() -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return 0.1 * np.maximum(0.0, x - 14.0)

    line = Lines(PLACES[np.newaxis], function(PLACES)[np.newaxis])
    assert half_error(line, lambda gain: 0.3 * gain)[0] == 0.0
    assert half_error(line, lambda gain: 0.01 * gain)[0] > 0.0
