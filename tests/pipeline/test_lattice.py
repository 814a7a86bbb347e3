"""The labels of lattices: exact, nested, on the scale of the axis (rule G2)."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.refining import LatticeAxis, Step, lattice_axis, parse_step
from pipeline.refining.lattice import is_geometric

DECIMALS = st.decimals(-1000, 1000, places=3).map(float)


@given(DECIMALS, DECIMALS, st.integers(0, 6))
def test_g2_linear_labels_are_the_nearest_floats_of_their_decimals(low: float, high: float, halvings: int) -> None:
    if low >= high:
        return
    axis = lattice_axis("a", [high, low], Step(2**halvings))
    first, last = Fraction(repr(low)), Fraction(repr(high))
    exact = [float(first + (last - first) * Fraction(i, 2**halvings)) for i in range(2**halvings + 1)]
    assert list(axis.labels) == exact


@pytest.mark.parametrize(("values", "scale"), [([0.0, 40.0], "linear"), ([5e6, 80e6], "log"), ([-0.3, 0.7], "linear")])
def test_a_finer_lattice_holds_every_label_of_a_coarser_one(values: list[float], scale: str) -> None:
    labels = [lattice_axis("a", values, Step(2**n), scale=scale).labels for n in range(8)]  # type: ignore[arg-type]
    for coarse, fine in itertools.pairwise(labels):
        assert coarse == fine[::2]
    assert labels[0] == tuple(values)


def test_logarithmic_labels_have_one_ratio_and_exact_ends() -> None:
    axis = lattice_axis("a", [5e6, 80e6], Step(4), scale="log")
    assert axis.labels == (5e6, 10e6, 20e6, 40e6, 80e6)


@pytest.mark.parametrize(
    ("values", "step", "labels"),
    [
        ([1, 2, 8], None, (1, 2, 3, 4, 5, 6, 7, 8)),
        ([0, 8], Step(4), (0, 2, 4, 6, 8)),
        ([0, 8], Step(64), tuple(range(9))),
        ([2, 8], Step(size=Decimal(3)), (2, 5, 8)),
    ],
)
def test_whole_axes_have_no_points_between_integers(values: list[int], step: Step | None, labels: tuple[int, ...]) -> None:
    axis = lattice_axis("a", values, step, whole=True)
    assert axis.labels == labels
    assert all(isinstance(label, int) for label in axis.labels)


def test_a_step_in_the_unit_of_the_axis() -> None:
    assert lattice_axis("a", [5e6, 20e6], Step(size=Decimal("1.25e6"))).intervals == 12


@pytest.mark.parametrize(
    ("values", "step", "named"),
    [
        ([0.0, 1.0], {"size": Decimal("0.3")}, {}),
        ([3.0], {}, {}),
        ([1.0, 8.0], {"size": Decimal(1)}, {"scale": "log"}),
        ([0, 8], {"size": Decimal("0.5")}, {"whole": True}),
        ([0.0, 1.0], {"size": Decimal("1e-6")}, {}),
    ],
)
def test_steps_that_do_not_divide_the_axis_are_refused(values: list[float], step: dict, named: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=r"'a'|intervals"):
        lattice_axis("a", values, Step(**step) if step else None, **named)


@pytest.mark.parametrize(("text", "step"), [("1/64", Step(64)), ("0.5", Step(size=Decimal("0.5"))), (" 1/2 ", Step(2))])
def test_steps_as_texts(text: str, step: Step) -> None:
    assert parse_step(text) == step


@pytest.mark.parametrize("text", ["", "2/64", "1/x", "1/0", "1/99999", "-1", "0", "nan", "inf", "fine", "1/²"])
def test_texts_that_are_no_steps(text: str) -> None:
    with pytest.raises(ValueError, match=r"step|intervals"):
        parse_step(text)


def test_positions_are_on_the_scale_of_the_axis_and_exact_at_labels() -> None:
    axis = lattice_axis("a", [5e6, 80e6], Step(64), scale="log")
    np.testing.assert_array_equal(axis.positions(axis.labels), np.arange(65))
    assert axis.positions(np.sqrt(5e6 * 80e6)) == pytest.approx(32.0)
    assert LatticeAxis("b", (0.0, 1.0, 2.0)).positions([0.25, 1.5]).tolist() == [0.25, 1.5]
    with pytest.raises(ValueError, match="5e\\+06 to 8e\\+07"):
        axis.positions([4e6])


def test_values_in_one_ratio_are_geometric() -> None:
    assert is_geometric([5, 10, 20, 40])
    assert is_geometric([1.0, 0.1, 0.01])
    assert not is_geometric([1, 2, 3])
    assert not is_geometric([1, 10])
    assert not is_geometric([-1, -2, -4])
    assert not is_geometric([2, 2, 2])
