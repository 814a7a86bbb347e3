"""The loop of a refinement against dense lattices: accuracy, edges of feasibility, cost, noise, budget, repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refining_cases import Dense, judged, lattice

from pipeline.experiment import STATUS_CODES
from pipeline.refining import Goal, NoisyError, Tolerance, coarsest_dense, refine
from pipeline.refining.known import FAILED, UNKNOWN

FUNCTIONS = {
    "smooth": lambda x, y: (1 + x) ** 2 * np.exp(y),
    "kink": lambda x, y: 1 + 2 * np.abs(x + 0.7 * y - 0.63),
    "two kinks": lambda x, y: np.maximum(1.0, np.maximum(3 * x, 2.5 * y)),
    "plateau": lambda x, y: 1 + np.maximum(0.0, x + y - 0.8),
    "wave": lambda x, y: 2 + np.sin(6 * x) * np.cos(4 * y),
    "pole": lambda x, y: 1 / (1.02 - x * (0.6 + 0.4 * y)),
    "steep": lambda x, y: 10 ** (1.5 * x) + 0.0 * y,
}
EDGES = {
    "none": None,
    "circle": lambda x, y: (x - 0.4) ** 2 + (y - 0.5) ** 2 > 0.3,
    "slanting": lambda x, y: x > 0.55 + 0.2 * np.sin(5 * y),
    "corner": lambda x, y: (x > 0.6) & (y > 0.4),
    "ring": lambda x, y: np.abs(np.hypot(x - 0.5, y - 0.5) - 0.3) < 0.08,
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_point_is_off_and_every_cell_of_the_edge_is_right(function: str, edge: str) -> None:
    dense = lattice(FUNCTIONS[function], (65, 33), EDGES[edge])
    refined = dense.refine(0.02)
    found = judged(dense, refined)
    assert refined.end == "agreed"
    assert found.wrong == 0
    assert found.worst <= 0.02
    assert set(dense.counted.values()) == {1}
    assert sum(dense.batches) == refined.cells


@pytest.mark.parametrize(
    ("function", "edge"),
    [("smooth", None), ("smooth", lambda x, y: x > 0.71), ("steep", lambda x, y: x > 0.44), ("pole", lambda x, y: x > 0.83)],
)
def test_a_lattice_of_two_axes_takes_at_most_15_percent(function: str, edge: object) -> None:
    dense = lattice(FUNCTIONS[function], (65, 33), edge)  # type: ignore[arg-type]
    found = judged(dense, dense.refine(0.02))
    assert found.share <= 0.15
    assert (found.wrong, found.worst <= 0.02) == (0, True)


@pytest.mark.parametrize(
    "edge", [lambda x, y, z: x > 0.62 + 0.2 * y - 0.1 * z, lambda x, y, z: (x - 1) ** 2 + y**2 + z**2 < 0.5, None]
)
def test_a_lattice_of_three_axes_takes_at_most_20_percent(edge: object) -> None:
    dense = lattice(lambda x, y, z: (1 + x) ** 2 * np.exp(0.6 * y) / (1 + z), (33, 33, 33), edge)  # type: ignore[arg-type]
    found = judged(dense, dense.refine(0.02))
    assert found.share <= 0.20
    assert (found.wrong, found.worst <= 0.02) == (0, True)


@given(
    st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(0.0, 1.0), st.floats(0.1, 3.0), st.floats(-0.5, 1.5),
    st.floats(-1.0, 1.0),
)  # fmt: skip
def test_a_kink_and_an_edge_at_any_place_are_followed(
    slope_x: float, slope_y: float, at: float, jump: float, edge: float, slant: float
) -> None:
    dense = lattice(
        lambda x, y: 1 + jump * np.abs(slope_x * x + slope_y * y - at),
        (33, 17),
        lambda x, y: x > edge + slant * y,
    )
    if np.isnan(dense.values).all():
        return
    found = judged(dense, dense.refine(0.05))
    assert found.wrong == 0
    assert found.worst <= 0.05


def _draws(count: int, *, noise: float = 0.0) -> Dense:
    random = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(0, 1, 65), np.linspace(0, 1, 33), indexing="ij")
    offset, strength = random.normal(0, 0.08, count), 1 + 0.3 * random.normal(size=count) ** 2
    values = np.stack([s * (1 + x) ** 2 * np.exp(y + o) for s, o in zip(strength, offset, strict=True)], axis=-1)
    values *= 1 + noise * random.normal(size=values.shape)
    infeasible = np.stack([x > 0.7 + o + 0.05 * y for o in offset], axis=-1)
    return Dense(np.where(infeasible & (noise == 0.0), np.nan, values))


def test_each_draw_has_its_own_edge_and_the_mean_keeps_the_tolerance() -> None:
    dense = _draws(8)
    refined = dense.refine(0.02)
    found = judged(dense, refined)
    assert (refined.end, found.wrong) == ("agreed", 0)
    assert found.worst <= 0.02
    assert found.share <= 0.15


def test_noise_splits_no_box() -> None:
    quiet, noisy = _draws(64).refine(0.02), _draws(64, noise=0.03).refine(0.02)
    assert noisy.noise == pytest.approx(0.03 / 8, rel=0.3)
    assert noisy.end == "agreed"
    # Without noise an edge is followed, too: the noisy lattice has none.
    assert noisy.cells < quiet.cells


def test_a_tolerance_below_three_times_the_noise_is_refused_with_the_draws_it_takes() -> None:
    with pytest.raises(NoisyError) as error:
        _draws(16, noise=0.05).refine(0.02)
    # Independent noise of 5 %: (3 * 5 / 2)^2 = 56 draws.
    assert error.value.draws == 16
    assert 56 / 2 < error.value.needed < 56 * 2
    assert error.value.noise == pytest.approx(0.05 / 4, rel=0.35)
    assert _draws(2 * error.value.needed, noise=0.05).refine(0.02).end == "agreed"


def test_a_kink_at_every_early_probe_is_not_taken_for_noise() -> None:
    # Both probes of this small lattice meet the kink, and their noise would hide it.
    dense = lattice(lambda x, y: 1 + 1.036 * np.abs(0.876 * x - 0.81 * y - 0.005), (33, 17))
    refined = dense.refine(0.05)
    assert refined.trees[0].noise.deviation < 1e-3
    assert judged(dense, refined).worst <= 0.05


def test_an_absolute_tolerance_goes_through_zero() -> None:
    dense = lattice(lambda x, y: 8 * (x - 0.5) ** 3 + y - 0.5, (65, 33))
    refined = dense.refine(0.05, relative=False)
    assert judged(dense, refined, relative=False).worst <= 0.05
    assert refined.cells < 0.15 * refined.lattice_cells


def test_each_box_is_interpolated_on_the_scale_that_fits() -> None:
    # Exponential on the left, towards zero on a straight line on the right: one scale alone takes many more cells.
    dense = lattice(lambda x, y: np.where(x < 0.5, np.exp(6 * (0.5 - x)), 2.0 * (1.0 - 0.99 * x)) + 0.0 * y, (65, 33))
    refined = dense.refine(0.02)
    assert judged(dense, refined).worst <= 0.02
    assert {leaf.logs for leaf in refined.trees[0].leaves} == {True, False}


def test_a_share_of_values_that_are_not_above_zero_is_kept_without_logarithms() -> None:
    dense = lattice(lambda x, y: -1 - x * x - y, (65, 33))
    refined = dense.refine(0.02)
    assert judged(dense, refined).worst <= 0.02
    late = lattice(lambda x, y: 1.0 - 1.0 * ((x > 0.3) & (x < 0.32) & (y == 0.5)), (65, 33))  # one cell is zero
    assert judged(late, late.refine(0.02, budget=2145), relative=False).wrong == 0
    assert not refined.trees[0].geometric


def test_a_budget_ends_in_order_and_what_is_known_is_right() -> None:
    dense = lattice(FUNCTIONS["wave"], (65, 33), EDGES["slanting"])
    refined = dense.refine(0.02, budget=300)
    assert refined.end == "budget"
    assert refined.cells <= 300
    assert refined.open_boxes > 0
    assert refined.proven_share() == 0.0
    values, kinds = refined.trees[0].filled()
    assert (kinds == UNKNOWN).any()  # between cells of different kinds nothing is said
    known = refined.trees[0].kinds != UNKNOWN
    np.testing.assert_array_equal(values[known], dense.values[known])
    assert coarsest_dense(refined.trees) is None


def test_decisions_follow_from_the_cells_alone() -> None:
    first, second = (lattice(FUNCTIONS["kink"], (65, 33), EDGES["circle"]) for _ in range(2))
    one, two = first.refine(), second.refine()
    assert first.batches == second.batches
    np.testing.assert_array_equal(one.trees[0].filled()[0], two.trees[0].filled()[0])


def test_a_batch_that_is_not_computed_stops_the_loop() -> None:
    dense = lattice(FUNCTIONS["smooth"], (17, 17))

    def read(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(cells), STATUS_CODES["missing"], dtype=np.uint8), np.full(len(cells), np.nan)

    refined = refine((17, 17), 1, 1, dense.compute, read, Goal(Tolerance(0.02)))
    assert (refined.end, len(dense.batches), refined.cells) == ("stopped", 1, 0)


def test_a_failed_cell_is_taken_for_nothing_else() -> None:
    dense = lattice(FUNCTIONS["smooth"], (33, 17))

    def read(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        status, values = dense.read(cells)
        failed = (cells[:, 1] == 16) & (cells[:, 2] == 8)
        return np.where(failed, STATUS_CODES["failed"], status).astype(np.uint8), np.where(failed, np.nan, values)

    refined = refine((33, 17), 1, 1, dense.compute, read, Goal(Tolerance(0.02)))
    _, kinds = refined.trees[0].filled()
    assert [tuple(place) for place in np.argwhere(kinds[..., 0] == FAILED)] == [(16, 8)]


def test_several_lattices_share_their_batches() -> None:
    flat, bent = lattice(lambda x, y: 1 + x, (33, 17)), lattice(FUNCTIONS["wave"], (33, 17))
    dense = np.stack([flat.values, bent.values])

    def read(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(cells), STATUS_CODES["ok"], dtype=np.uint8), dense[tuple(cells.T)]

    refined = refine((33, 17), 2, 1, flat.compute, read, Goal(Tolerance(0.02)))
    assert len(flat.batches) == len(refined.rounds)
    assert np.count_nonzero(refined.trees[0].kinds) < np.count_nonzero(refined.trees[1].kinds)
    for number, tree in enumerate(refined.trees):
        assert (np.abs(tree.filled()[0] / dense[number] - 1) <= 0.02).all()


def test_the_coarsest_dense_grid_is_found() -> None:
    power_law = lattice(lambda x, y: np.exp(x - 2 * y), (65, 33)).refine()
    plane = lattice(lambda x, y: 1 + x - 2 * y, (65, 33)).refine(0.02, relative=False)
    for refined in (power_law, plane):
        grid = coarsest_dense(refined.trees)
        assert grid is not None
        assert (grid.labels, grid.cells) == ((2, 2), 4)
    edge = coarsest_dense(lattice(lambda x, y: 1 + x, (65, 33), lambda x, y: x > 0.51).refine().trees)
    assert edge is not None
    assert edge.labels[0] == 65  # the edge lies between neighbours of the finest step
    assert edge.labels[1] == 2
