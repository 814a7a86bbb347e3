"""Answers against brute force: verdicts, costs, fronts, thinning, conflicts and how far parts must give way."""

from __future__ import annotations

import itertools
import math
import time
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from pipeline.asking import ask
from pipeline.asking.answer import MOST_ROWS
from pipeline.asking.shown import as_data
from pipeline.asking.thin import thin
from pipeline.asking.verdict import WORDS
from pipeline.dominance import is_nondominated
from pipeline.errors import UsageError
from pipeline.experiment import STATUS_CODES

LEVELS, SIZES, KINDS = (1.0, 2.0, 4.0), (10, 20), ("plain", "fancy")
FEASIBLE = (STATUS_CODES["ok"], STATUS_CODES["inaccurate"])


def random_cube(seed: int, realisations: int, *, broken: bool = True) -> xr.Dataset:
    """A cube with every status, two metrics, and values that some feasible cells lack."""
    random = np.random.default_rng(seed)
    axes, shape = ("level", "size", "kind", "realisation"), (3, 2, 2, realisations)
    codes = [2, 2, 2, 2, 2, 3, 4, 4, *([0, 5] if broken else [])]
    status = random.choice(codes, shape).astype(np.uint8)
    if broken:
        status[random.random(shape[:3]) < 0.1] = STATUS_CODES["not_planned"]
    there = np.isin(status, FEASIBLE)
    scale = random.choice([0.3, 1.0, 3.0], shape[:3])[..., np.newaxis]
    error = np.where(there, np.round(scale * random.gamma(3.0, 0.01, shape), 3), np.nan)
    rate = np.where(there & (random.random(shape) < (0.9 if broken else 2.0)), random.integers(0, 9, shape), -1)
    data = {
        "status": (axes, status), "error_m": (axes, error, {"units": "m"}), "rate": (axes, rate, {"units": "1"}),
        "relative_gap": (axes, np.where(there, 1e-8 * random.random(shape), np.nan), {"units": "1"}),
    }  # fmt: skip
    coordinates = {
        "level": ("level", np.array(LEVELS), {"units": "W", "path": "power.level_w"}), "size": ("size", np.array(SIZES)),
        "kind": ("kind", np.array(KINDS, dtype=object)), "realisation": ("realisation", np.arange(realisations)),
    }  # fmt: skip
    return xr.Dataset(data, coordinates)


def quick_cube(*, failed: int = 0, missing: int = 0) -> xr.Dataset:
    """An error that grows with SINR and users, up to a SINR that no realisation reaches."""
    axes, sinr = ("sinr_db", "user_count", "design", "realisation"), np.array([0.0, 10.0, 20.0, 25.0, 30.0, 40.0])
    users, factor, draw = np.array([1, 2]), np.array([1.0, 1.5]), np.arange(4)
    load = (1 + sinr / 40)[:, None, None, None] * (1 + 0.1 * users)[:, None, None] * factor[:, None]
    error = 1e-3 * load * (1 + 0.02 * draw)
    status = np.where(sinr[:, None, None, None] + 0 * error < 38, 2, 4).astype(np.uint8)
    status[:failed, 0, 0, 0], status[:missing, 0, 0, 1] = STATUS_CODES["failed"], STATUS_CODES["missing"]
    data = {"status": (axes, status), "rcrb_m": (axes, np.where(status == 2, error, np.nan), {"units": "m"})}
    designs = np.array(["orthogonal", "beamforming"], dtype=object)
    labels = {"sinr_db": ("sinr_db", sinr, {"units": "dB"}), "user_count": users, "design": designs, "realisation": draw}
    return xr.Dataset(data, labels)


# --- an oracle of its own: three-valued logic cell by cell, in plain Python ------------------------------------------------

Cell = dict[str, Any]


def _compare(name: str, sign: str, number: float, unit: str) -> tuple[str, Any]:
    signs = {"<=": float.__le__, "<": float.__lt__, ">=": float.__ge__, ">": float.__gt__}

    def holds(cell: Cell) -> bool | None:
        return None if cell[name] is None else signs[sign](float(cell[name]), number)

    written = f"{number * 100:g} cm" if unit == "cm" else f"{number * 1000:g} mm" if unit == "mm" else f"{number:g}{unit}"
    return f"{name} {sign} {written}", holds


def _not(part: tuple[str, Any]) -> tuple[str, Any]:
    text, holds = part
    return f"not ({text})", lambda cell: None if holds(cell) is None else not holds(cell)


def _join(word: str, parts: list[tuple[str, Any]]) -> tuple[str, Any]:
    decisive = word == "or"

    def holds(cell: Cell) -> bool | None:
        found = [part(cell) for _, part in parts]
        return decisive if decisive in found else None if None in found else not decisive

    return f" {word} ".join(f"({text})" for text, _ in parts), holds


SIGNS = st.sampled_from(["<=", "<", ">=", ">"])
LEAVES = st.one_of(
    st.builds(
        _compare, st.just("error_m"), SIGNS, st.integers(1, 80).map(lambda n: n / 1000), st.sampled_from(["cm", "mm", "", " m"])
    ),
    st.builds(_compare, st.just("rate"), SIGNS, st.integers(0, 9).map(float), st.just("")),
    st.builds(_compare, st.just("level"), SIGNS, st.sampled_from(LEVELS), st.sampled_from(["", " W"])),
    st.builds(_compare, st.just("size"), SIGNS, st.sampled_from([5.0, 10.0, 20.0]), st.just("")),
    st.sampled_from(KINDS).map(lambda label: (f"kind == '{label}'", lambda cell: cell["kind"] == label)),
)  # fmt: skip
WISHES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(_not), st.builds(_join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=5,
)


def cells_of(cube: xr.Dataset, point: tuple[int, ...]) -> list[tuple[int, Cell]]:
    """The status and the values of each realisation at a point; None for a value that the cell lacks."""
    status, errors, rates = (cube[name].values[point].tolist() for name in ("status", "error_m", "rate"))
    place = {"level": LEVELS[point[0]], "size": SIZES[point[1]], "kind": KINDS[point[2]]}
    return [
        (code, {"error_m": None if math.isnan(error) else error, "rate": None if rate == -1 else rate} | place)
        for code, error, rate in zip(status, errors, rates, strict=True)
    ]


def brute_force(cube: xr.Dataset, holds: Any, share: float, point: tuple[int, ...]) -> tuple[str, int, int]:
    """The verdict on a point, its hits and its counted realisations."""
    hits, counted, cells = 0, 0, cells_of(cube, point)
    for status, cell in cells:
        answer = False if status == STATUS_CODES["infeasible"] else holds(cell) if status in FEASIBLE else None
        hits, counted = hits + (answer is True), counted + (answer is not None)
    if all(status == STATUS_CODES["not_planned"] for status, _ in cells):
        return "not planned", hits, counted
    if holds({**cells[0][1], "error_m": None, "rate": None}) is False:
        return "not met", hits, counted  # the axes alone refuse the point
    return judged(hits, counted, share), hits, counted


@cache
def judged(hits: int, counted: int, share: float) -> str:
    if counted and binom.sf(hits - 1, counted, share) <= 0.05:
        return "met"
    return "not met" if counted and binom.cdf(hits, counted, share) <= 0.05 else "undecided"


@settings(max_examples=200)
@given(WISHES, st.integers(0, 10_000), st.sampled_from([1, 4, 9, 40]), st.sampled_from([20, 50, 75, 90]))
def test_verdicts_on_random_wishes_are_those_of_brute_force(
    wish: tuple[str, Any], seed: int, realisations: int, share: int
) -> None:
    text, holds = wish
    cube = random_cube(seed, realisations)
    answer = ask(cube, f"{text} in {share} % of realisations", minimise="level,size")
    verdicts = answer.verdicts
    for point in itertools.product(range(3), range(2), range(2)):
        flat = int(np.ravel_multi_index(point, (3, 2, 2)))
        found = (WORDS[int(verdicts.values[point])], int(answer.points.hits[flat]), int(answer.points.counted[flat]))
        assert found == brute_force(cube, holds, share / 100, point), (text, point)
    assert len(answer.rows) + len(answer.near) <= MOST_ROWS
    assert str(answer)
    assert all(row.verdict == "met" for row in answer.rows)
    assert all(row.verdict in ("not met", "undecided") for row in answer.near)


@settings(max_examples=60)
@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 5.0, math.inf])] * d), max_size=25)
    )
)
def test_nondominated_points_are_those_of_brute_force(rows: list[tuple[float, ...]]) -> None:
    costs = np.array(rows).reshape(len(rows), -1) if rows else np.zeros((0, 2))
    expected = [not any((b <= a).all() and (b < a).any() for b in costs) for a in costs]
    assert is_nondominated(costs).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1000)), min_size=1, max_size=120), st.integers(1, 20))
def test_what_thinning_leaves_out_lies_within_the_tolerance_of_what_is_kept(rows: list[tuple[int, int]], most: int) -> None:
    costs = np.array(rows, dtype=np.float64)
    kept, tolerance, stands_for = thin(costs, most)
    span = np.maximum(np.ptp(costs, axis=0), 1e-300)
    assert 1 <= len(kept) <= most
    assert stands_for.sum() == len(costs)
    near = (np.abs(costs[:, np.newaxis] - costs[kept]) / np.where(span > 1e-200, span, 1.0)).max(axis=-1)
    assert (near.min(axis=1) <= tolerance + 1e-12).all()
    if tolerance == 0.0:
        assert len(kept) == len(np.unique(costs, axis=0))
    apart = near[kept][:, :] + np.eye(len(kept)) * 9
    assert (apart > tolerance - 1e-12).all()
    assert kept[0] == 0  # the best point is always shown


def test_rows_are_the_front_in_the_order_of_the_costs() -> None:
    cube = random_cube(3, 40, broken=False)
    answer = ask(cube, "error_m <= 2 cm in 30 %", minimise=["level", "error_m"])
    met = [i for i in range(12) if answer.points.verdicts.code[i] == 3]
    for i in met:
        point = np.unravel_index(i, (3, 2, 2))
        values = sorted(math.inf if math.isnan(v) else v for v in cube["error_m"].values[point].tolist())
        assert answer.points.costs[i].tolist() == [LEVELS[point[0]], values[math.ceil(0.3 * 40) - 1]]
    costs = [row.costs for row in answer.rows]
    assert costs == sorted(costs)
    front = [i for i in met if not any((answer.points.costs[j] <= answer.points.costs[i]).all() and j != i for j in met)]
    assert {row.point for row in answer.rows if row.nondominated} == set(front)


def test_a_front_of_many_points_is_thinned_and_says_so() -> None:
    shape = (100, 100, 60)
    cost = np.arange(100)
    status = np.where((cost[:, None] + cost[None, :] >= 99)[..., None], 2, 4) * np.ones(shape)
    data = {"status": (("a", "b", "realisation"), status.astype(np.uint8)), "x": (("a", "b", "realisation"), np.ones(shape))}
    answer = ask(xr.Dataset(data, {"a": cost, "b": cost}), "x >= 1", minimise="a,b")
    assert len(answer.rows) == 15 <= MOST_ROWS
    assert sum(row.stands_for for row in answer.rows) == answer.points.front.sum() == 100
    assert f"within {answer.tolerance:.1%} of the range of every cost" in str(answer).replace("\n", " ")
    assert answer.rows[0].place == {"a": 0, "b": 99}


def test_margins_say_what_the_share_of_realisations_keeps() -> None:
    error = np.array([[0.01, 0.02, 0.03, 0.04, np.nan]])
    status = np.array([[2, 2, 2, 2, 4]], dtype=np.uint8)
    axes = ("level", "realisation")
    cube = xr.Dataset({"status": (axes, status), "error_m": (axes, error, {"units": "m"})}, {"level": [1.0]})
    (row,) = ask(cube, "error_m <= 3.5 cm and 0.1 cm <= error_m in 10 % of realisations").rows
    assert (row.hits, row.counted, row.statuses["infeasible"]) == (3, 5, 1)
    small, large = row.margins
    assert (small.hits, small.value, small.slack) == (3, pytest.approx(0.01), pytest.approx(0.025))
    assert (large.hits, large.value) == (4, pytest.approx(0.04))  # what a tenth of five realisations keeps is the best of them
    (near,) = ask(cube, "error_m <= 3.5 cm in 90 % of realisations").near
    assert near.margins[0].slack == -math.inf  # 90 % of five are five, and one is infeasible
    assert "infeasible" in str(ask(cube, "error_m <= 3.5 cm in 90 % of realisations"))


def test_an_infeasible_realisation_misses_and_one_that_failed_or_is_missing_does_not_count() -> None:
    status = np.array([[2] * 30 + [4] * 2, [2] * 30 + [0, 5]], dtype=np.uint8)
    axes = ("level", "realisation")
    cube = xr.Dataset({"status": (axes, status), "x": (axes, np.ones(status.shape))}, {"level": [1.0, 2.0]})
    answer = ask(cube, "x >= 1 in 90 % of realisations")
    assert answer.verdicts.values.tolist() == [1, 3]
    assert answer.points.counted.tolist() == [32, 30]
    assert [note.split(";")[0] for note in answer.notes[:2]] == ["1 cells are missing", "1 cells failed"]


def test_without_realisations_each_cell_is_a_point() -> None:
    cube = quick_cube().isel(realisation=0, drop=True)
    answer = ask(cube, "rcrb_m <= 2 mm and design == 'orthogonal'", minimise="-sinr_db")
    assert answer.rows[0].place == {"sinr_db": 30.0, "user_count": 1, "design": "orthogonal"}
    assert (answer.share, answer.counts["undecided"]) == (None, 0)
    with pytest.raises(UsageError, match="leave the share of realisations out"):
        ask(cube, "rcrb_m <= 2 mm in 90 % of realisations")
    same = ask(quick_cube(), "rcrb_m <= 2 mm", over="none")
    assert same.verdicts.dims == ("sinr_db", "user_count", "design", "realisation")


def conflicting(cube: xr.Dataset, parts: list[Any], share: float) -> set[tuple[int, ...]]:
    """Smallest sets of parts for which every planned point is refuted, by trying all sets."""

    def conflict(chosen: tuple[int, ...]) -> bool:
        holds = _join("and", [parts[i] for i in chosen])[1]
        found = [brute_force(cube, holds, share, point)[0] for point in itertools.product(range(3), range(2), range(2))]
        return all(verdict in ("not met", "not planned") for verdict in found)

    sets = [s for size in range(len(parts) + 1) for s in itertools.combinations(range(len(parts)), size) if conflict(s)]
    return {s for s in sets if not any(set(other) < set(s) for other in sets)}


@settings(max_examples=25)
@given(st.lists(LEAVES, min_size=1, max_size=4), st.integers(0, 1000), st.sampled_from([6, 12]))
def test_conflicts_are_the_smallest_sets_that_brute_force_finds(parts: list[Any], seed: int, realisations: int) -> None:
    cube = random_cube(seed, realisations)
    answer = ask(cube, " and ".join(text for text, _ in parts) + " in 80 %")
    every = tuple(range(len(parts)))
    if answer.counts["met"] or answer.counts["undecided"]:
        assert answer.conflicts == ()
    elif (cube["status"].values != 1).any():
        assert {c.parts for c in answer.conflicts} == conflicting(cube, parts, 0.8)
        assert all(set(c.parts) <= set(every) for c in answer.conflicts)
    assert str(answer)
    assert as_data(answer)["points"] == answer.counts


@pytest.mark.parametrize(("seed", "limit", "share"), [(0, 3, 15), (1, 2, 15), (2, 4, 15), (4, 4, 30), (5, 1, 30)])
def test_a_part_gives_way_just_far_enough(seed: int, limit: int, share: int) -> None:
    cube = random_cube(seed, 40, broken=False)
    numbers = {"error_m": limit / 1000, "rate": 3.0, "level": 2.0}
    signs, steps = {"error_m": "<=", "rate": ">=", "level": "<="}, {"error_m": 1e-4, "rate": 0.5, "level": 0.5}

    def wish(names: list[str], changed: dict[str, float]) -> str:
        return " and ".join(f"{n} {signs[n]} {(numbers | changed)[n]!r}" for n in names) + f" in {share} %"

    names = list(numbers)
    answer = ask(cube, wish(names, {}))
    assert answer.conflicts
    for conflict in answer.conflicts:
        for r in conflict.relaxations:
            chosen = names if r.whole else [names[i] for i in conflict.parts]
            name = names[r.part]
            outward = 1.0 if signs[name] == "<=" else -1.0
            assert math.isfinite(r.by)
            enough = ask(cube, wish(chosen, {name: numbers[name] + outward * (r.by + 1e-12)}))
            less = ask(cube, wish(chosen, {name: numbers[name] + outward * (r.by - steps[name])}))
            code = WORDS[int(enough.points.verdicts.code[r.point])]
            shares = [a.points.hits / np.maximum(1, a.points.counted) for a in (enough, less)]
            if r.state == "met":
                assert (code, less.counts["met"]) == ("met", 0)
            elif r.state == "reached":
                assert shares[0][r.point] >= share / 100 > shares[1].max()
            else:
                assert (code, less.counts["undecided"] + less.counts["met"]) == ("undecided", 0)
    assert f"error_m <= {numbers['error_m'] + answer.conflicts[0].relaxations[0].by:.4g} m" in str(answer)


def test_parts_that_hold_one_by_one_conflict_at_realisations() -> None:
    axes = ("level", "realisation")
    x = np.tile(np.arange(40.0), (2, 1))
    cube = xr.Dataset({"status": (axes, np.full(x.shape, 2, np.uint8)), "x": (axes, x), "y": (axes, 39 - x)}, {"level": [1, 2]})
    answer = ask(cube, "x >= 15 and y >= 15 in 40 % of realisations")
    assert {c.parts for c in answer.conflicts} == {(0, 1)}
    assert ask(cube, "x >= 15 in 40 %").counts["met"] == ask(cube, "y >= 15 in 40 %").counts["met"] == 2
    nothing = ask(cube.assign(status=cube["status"] * 2), "x >= 0 in 40 %")
    assert [c.parts for c in nothing.conflicts] == [()]
    assert "no part at all" in str(nothing)


def test_the_answer_as_a_table_has_a_row_for_each_planned_point() -> None:
    answer = ask(quick_cube(failed=1, missing=1), "rcrb_m <= 2 mm and sinr_db >= 20 dB in 40 %", minimise="-sinr_db")
    table = answer.to_dataframe()
    assert len(table) == sum(answer.counts.values()) - answer.counts["not_planned"]
    assert list(table.columns) == [
        "sinr_db", "user_count", "design", "verdict", "hits", "counted", "share_low", "share_high", "nondominated", "together",
        "cost: -sinr_db", "margin: rcrb_m <= 2 mm", "margin: sinr_db >= 20 dB",
    ]  # fmt: skip
    assert table["cost: -sinr_db"].is_monotonic_increasing
    assert (table["verdict"] == "met").sum() == answer.counts["met"] > 0
    assert max(len(line) for line in str(answer).splitlines()) <= 80


def test_a_wish_that_is_too_long_or_a_cube_that_is_none_is_refused() -> None:
    many = " and ".join(f"rcrb_m <= {n}e-9" for n in range(1, 14))
    with pytest.raises(UsageError, match="at most 12 parts"):
        ask(quick_cube(), many)
    with pytest.raises(UsageError, match="no variable 'status'"):
        ask(xr.Dataset({"x": ("a", [1.0])}), "x < 2")
    with pytest.raises(UsageError, match=r"no axis 'reallisation' \(did you mean 'realisation'"):
        ask(quick_cube(), "rcrb_m < 1", over="reallisation")
    with pytest.raises(UsageError, match="counts the realisations"):
        ask(quick_cube(), "rcrb_m < 1", minimise="realisation")


def million(shape: tuple[int, ...]) -> xr.Dataset:
    random = np.random.default_rng(1)
    axes = ("node_count", "bandwidth_hz", "sinr_db", "power", "realisation")
    status = np.where(random.random(shape) < 0.1, 4, 2).astype(np.uint8)
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        "status": (axes, status), "rcrb_m": (axes, np.where(status == 2, random.random(shape), np.nan)),
        "se_bps_hz": (axes, np.where(status == 2, random.gamma(4.0, 1.0, shape), np.nan)),
        "relative_gap": (axes, random.random(shape)),
    }  # fmt: skip
    return xr.Dataset(data, {name: np.arange(size) for name, size in zip(axes, shape, strict=True)})


@pytest.mark.parametrize(
    "wish", ["rcrb_m <= 0.9 and se_bps_hz >= 1 in 60 %", "rcrb_m <= 1e-4 and se_bps_hz >= 9 and power <= 3 in 60 %"]
)
def test_a_million_cells_are_answered_in_two_seconds(wish: str) -> None:
    cube = million((10, 10, 10, 25, 40))
    begun = time.process_time()
    answer = str(ask(cube, wish, minimise="node_count,bandwidth_hz,rcrb_m"))
    assert time.process_time() - begun < 2.0
    assert "25,000 points" in answer
