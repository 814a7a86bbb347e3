"""Rules against slow forms of their definitions, the front against pairwise comparison, bounds against all splits."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from dmimo_cases import LIMIT_M, deployment, information, rate
from hypothesis import given, settings
from hypothesis import strategies as st

from disac.designs.dmimo import selection_bound
from disac.designs.dmimo.link_strength import LargeScaleRate, PrintedRate
from disac.designs.dmimo.selection_bound import bounded_split, proven
from disac.designs.dmimo.selection_rules import (
    backward_joint,
    communication_centric,
    greedy,
    joint_with_exchanges,
    random_split,
    sensing_centric,
    swapped,
)
from disac.designs.dmimo.sensing_score import Coverage, MeanLog, mean_score
from disac.designs.dmimo.split_front import best_of_size, not_dominated, split_table
from disac.metrics.pair_information import all_splits


def slow_printed(strengths: np.ndarray, chosen: list[int], noise: float) -> float:
    """(19) user by user."""
    total = 0.0
    for k in range(strengths.shape[1]):
        own = sum(strengths[t, k] for t in chosen) ** 2
        others = sum(sum(strengths[t, i] for t in chosen) ** 2 for i in range(strengths.shape[1]) if i != k)
        total += np.log2(1 + own / (others + noise))
    return total


def test_the_communication_rule_takes_the_best_next_transmitter() -> None:
    strengths = rate(4, 8, users=4).strengths
    noise = float(np.median(strengths)) ** 2
    printed = PrintedRate(strengths, noise)
    chosen: list[int] = []
    for transmitters in range(1, 8):
        gains = {t: slow_printed(strengths, [*chosen, t], noise) for t in range(8) if t not in chosen}
        chosen.append(max(gains, key=lambda t: gains[t]))
        found = communication_centric(printed, 8, 8 - transmitters)
        assert sorted(chosen) == list(np.flatnonzero(found))
        assert printed(found) == pytest.approx(slow_printed(strengths, chosen, noise), rel=1e-12)


def test_the_sensing_rule_takes_the_farthest_point() -> None:
    positions, _ = deployment(2, 9)
    for start in (None, 4):
        first = int(np.argmax([np.linalg.norm(p - positions.mean(axis=0)) for p in positions])) if start is None else start
        chosen = [first]
        for receivers in range(1, 9):
            assert sorted(chosen) == list(np.flatnonzero(~sensing_centric(positions, receivers, start)))
            left = [r for r in range(9) if r not in chosen]
            if receivers < 8:
                chosen.append(max(left, key=lambda r: min(np.linalg.norm(positions[r] - positions[c]) for c in chosen)))


def test_the_random_rule_draws_all_sets_equally() -> None:
    rng, sets = np.random.default_rng(0), list(itertools.combinations(range(5), 2))
    counts = dict.fromkeys(sets, 0)
    for _ in range(3000):
        counts[tuple(np.flatnonzero(~random_split(rng, 5, 2)))] += 1  # type: ignore[index]
    # Chi-square of 9 degrees of freedom: 27.9 is exceeded with probability 1e-3.
    assert sum((c - 300) ** 2 / 300 for c in counts.values()) < 27.9


@pytest.mark.parametrize("slots", ["per-transmitter", "in-total"])
def test_greedy_choice_and_exchanges_are_those_of_their_definitions(slots: str) -> None:
    pairs, score = information(6, 7, 4, slots=slots), MeanLog()  # type: ignore[arg-type]
    sends = np.ones(7, dtype=bool)
    for receivers in range(1, 6):
        values = {}
        for m in np.flatnonzero(sends):
            tried = sends.copy()
            tried[m] = False
            values[m] = float(mean_score(score, pairs, tried))
        sends[max(values, key=lambda m: values[m])] = False
        assert np.array_equal(sends, greedy(pairs, receivers))
    # From the worst split: no exchange of the result gains.
    table = split_table(pairs, lambda sets: sets.sum(axis=-1).astype(float), LIMIT_M)
    worst = table.transmitters[table.best(table.mean_log_bound, 3)]
    better = swapped(pairs, worst)
    assert (~better).sum() == 3
    value = mean_score(score, pairs, better)
    assert value > mean_score(score, pairs, worst) + 0.1
    for t, r in itertools.product(np.flatnonzero(better), np.flatnonzero(~better)):
        tried = better.copy()
        tried[[t, r]] = False, True
        assert mean_score(score, pairs, tried) <= value + 1e-9


def test_the_large_scale_rate_is_its_formula() -> None:
    given_ = rate(7, 5, users=3, antennas=4)
    chosen, total = [0, 2, 3], 0.0
    beta, a = given_.strengths, given_.responses
    powers = 0.1 * beta / beta.sum(axis=1, keepdims=True)
    for k in range(3):
        wanted = sum(np.sqrt(0.5 * powers[t, k] * beta[t, k] * 4) for t in chosen) ** 2
        heard = sum(
            0.5 * powers[t, i] * beta[t, k] * abs(np.vdot(a[t, k], a[t, i])) ** 2 / 4
            for t in chosen
            for i in range(3)
            if i != k
        )
        sensing = 0.5 * 0.1 * np.mean([beta[t, k] for t in chosen])
        total += np.log2(1 + wanted / (heard + sensing + given_.noise_w))
    assert given_(np.isin(np.arange(5), chosen)) == pytest.approx(total, rel=1e-12)
    assert given_(np.zeros(5, dtype=bool)) == 0.0


def test_the_surrogate_is_near_the_mean_rate_of_channels() -> None:
    """(7), corrected, over draws of line-of-sight channels with a random phase of each user: the surrogate adds powers."""
    given_, rng = rate(8, 6, users=4), np.random.default_rng(1)
    sends = np.array([1, 1, 0, 1, 1, 0], dtype=bool)
    beta, t = given_.strengths, np.flatnonzero(sends)
    beams = given_.responses[t] / np.sqrt(8)
    amplitudes = np.sqrt(0.5 * 0.1 * beta / beta.sum(axis=1, keepdims=True))[t]
    total = 0.0
    for _ in range(200):
        # A phase of each path: maximum-ratio beams undo it for their own user alone.
        turn = np.exp(1j * rng.uniform(0, 2 * np.pi, (len(t), 4)))
        channels = np.sqrt(beta[t])[..., np.newaxis] * given_.responses[t] * turn[..., np.newaxis]
        gains = np.einsum("tkn,tin,ti,ti->ki", channels.conj(), beams, amplitudes, turn)
        power = np.abs(gains) ** 2
        own = np.diag(power)
        for active in beta[t]:
            total += np.log2(1 + own / (power.sum(axis=1) - own + 0.05 * active + given_.noise_w)).sum() / (200 * len(t))
    assert given_(sends) == pytest.approx(total, rel=0.12)


def test_the_joint_rule_weighs_both_services() -> None:
    pairs, se = information(9, 10, 5), rate(9, 10)
    whole = float(se(np.ones(10, dtype=bool)))
    sends = np.ones(10, dtype=bool)
    for receivers in range(1, 7):
        values = {}
        for m in np.flatnonzero(sends):
            tried = sends.copy()
            tried[m] = False
            values[m] = float(se(tried)) / whole + 0.7 * float(mean_score(MeanLog(), pairs, tried))
        sends[max(values, key=lambda m: values[m])] = False
        assert np.array_equal(sends, backward_joint(se, pairs, receivers, sensing_weight=0.7))
    rates = [float(se(backward_joint(se, pairs, 4, sensing_weight=w))) for w in (0.0, 1.0, 100.0)]
    scores = [float(mean_score(MeanLog(), pairs, backward_joint(se, pairs, 4, sensing_weight=w))) for w in (0.0, 1.0, 100.0)]
    assert rates[0] >= rates[1] >= rates[2]
    assert scores[0] <= scores[1] <= scores[2]
    assert np.array_equal(backward_joint(se, pairs, 4, sensing_weight=1e6), greedy(pairs, 4))


def test_exchanges_of_both_services_come_near_the_best_of_all_splits() -> None:
    """The joint rule with exchanges against the exhaustive optimum of its objective, five drops: mostly equal, never above."""
    short = []
    for seed in range(20, 25):
        pairs, se = information(seed, 10, 5), rate(seed, 10)
        table = split_table(pairs, se, LIMIT_M)
        worth = table.rate_bit_s_hz / float(se(np.ones(10, dtype=bool))) - table.mean_log_bound
        start = backward_joint(se, pairs, 4)
        found = joint_with_exchanges(se, pairs, 4)
        values = [worth[int(2 ** np.arange(10) @ sends) - 1] for sends in (start, found)]
        assert values[1] >= values[0] - 1e-12
        short.append(worth[table.best(worth, 4)] - values[1])
        if seed == 20:
            for t, r in itertools.product(np.flatnonzero(found), np.flatnonzero(~found)):
                tried = found.copy()
                tried[[t, r]] = False, True
                assert worth[int(2 ** np.arange(10) @ tried) - 1] <= values[1] + 1e-9
    assert min(short) >= -1e-12
    assert np.median(short) < 1e-9
    assert max(short) < 0.05


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), columns=st.integers(1, 3), levels=st.integers(2, 30))
def test_the_front_is_that_of_pairwise_comparison(seed: int, columns: int, levels: int) -> None:
    """With many equal values and with infinite ones."""
    values = np.random.default_rng(seed).integers(0, levels, (60, columns)).astype(float)
    values[values == 0] = -np.inf
    better = (values[:, np.newaxis] >= values).all(axis=2) & (values[:, np.newaxis] > values).any(axis=2)
    assert np.array_equal(not_dominated(values), ~better.any(axis=0))


def test_every_rule_lies_on_or_below_the_front_of_all_splits() -> None:
    pairs, se = information(10, 12, 8), rate(10, 12)
    table = split_table(pairs, se, LIMIT_M)
    assert len(table.transmitters) == 4094
    front = table.front()
    assert 1 < front.sum() < 1000
    code = 2 ** np.arange(12)
    numbers = {
        "joint": backward_joint(se, pairs, 6),
        "printed": communication_centric(PrintedRate(se.strengths, se.noise_w / 0.05), 12, 6),
        "farthest": sensing_centric(deployment(10, 12)[0], 6),
        "greedy": swapped(pairs, greedy(pairs, 6)),
    }
    objectives = np.stack([table.rate_bit_s_hz, -table.mean_log_bound, table.coverage], axis=1)
    for sends in numbers.values():
        row = objectives[int(code @ sends) - 1]
        assert row[0] == pytest.approx(float(se(sends)), rel=1e-12)
        assert (objectives[front] >= row).all(axis=1).any()
    best = table.best(-table.mean_log_bound, 6)
    found = objectives[[int(code @ sends) - 1 for sends in numbers.values()]]
    # Greedy choice with exchanges is within 2 % of the best geometric mean; (19)-(20) is not.
    assert found[3, 1] >= -table.mean_log_bound[best] - 0.02
    assert found[1, 1] < -table.mean_log_bound[best] - 0.02
    assert found[:, 1].max() <= -table.mean_log_bound[best] + 1e-12
    least = table.best(table.rate_bit_s_hz, 6, among=table.coverage >= found[2, 2])
    assert table.coverage[least] >= found[2, 2]
    assert table.rate_bit_s_hz[least] >= found[2, 0]
    with pytest.raises(ValueError, match="no split has 6 receivers"):
        table.best(table.rate_bit_s_hz, 6, among=table.coverage > 1)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one must receive and one transmit"):
        greedy(information(1, 4, 2), 4)
    with pytest.raises(ValueError, match="17 access points"):
        split_table(information(1, 17, 1), lambda sets: sets.sum(axis=-1), LIMIT_M)


@pytest.mark.parametrize("kind", ["equal", "skewed", "noncoherent", "in-total"])
def test_no_split_exceeds_the_bound(kind: str) -> None:
    """For every number of receivers: all splits of the size lie below; the rule's value is near the best."""
    pairs = information(11, 8, 4, slots="in-total" if kind == "in-total" else "per-transmitter", coherent=kind != "noncoherent")
    if kind == "skewed":
        powers = np.random.default_rng(0).uniform(0.2, 3.0, 8)[:, np.newaxis]
        pairs = dataclasses.replace(pairs, entries=pairs.entries * powers)
    sets = all_splits(8)[1:-1]
    limit = float(np.sqrt(np.median(pairs.squared_bounds(sets[100]))))
    for score in (MeanLog(), Coverage(limit)):
        values = mean_score(score, pairs, sets)
        for receivers in (1, 2, 4, 7):
            best = values[(~sets).sum(axis=1) == receivers].max()
            found = bounded_split(pairs, receivers, score, rounds=20, few=0)
            assert (~found.transmitters).sum() == receivers
            assert found.value == pytest.approx(float(mean_score(score, pairs, found.transmitters)), rel=1e-12)
            assert best <= found.upper_bound + 1e-9
            assert found.value >= best - (0.03 if isinstance(score, MeanLog) else 0.09)
            if isinstance(score, MeanLog) and receivers == 4:
                assert found.gap < 0.15


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), receivers=st.integers(1, 5))
def test_any_numbers_in_a_certificate_prove_a_bound(seed: int, receivers: int) -> None:
    """The proof does not rest on the search: arbitrary directions, slopes and multipliers."""
    rng, pairs = np.random.default_rng(seed), information(seed % 7, 6, 3)
    directions = rng.normal(size=(9, 3, 2))
    directions /= np.einsum("pii->p", directions[:, :2])[:, np.newaxis, np.newaxis]
    certificate = selection_bound.SplitCertificate(
        receivers, directions, rng.uniform(0, 1e-4, 9) / np.sum(directions**2, axis=(1, 2)), rng.normal(size=7)
    )
    sets = all_splits(6)
    sets = sets[(~sets).sum(axis=1) == receivers]
    for score in (MeanLog(), Coverage(0.01)):
        assert mean_score(score, pairs, sets).max() <= proven(certificate, pairs, score) + 1e-9


def test_the_proof_is_that_of_a_direct_computation() -> None:
    """The certificate's three inequalities written out split by split: none is exceeded, and one bound is the largest."""
    pairs, score = information(12, 8, 4), MeanLog()
    found = bounded_split(pairs, 3, score, few=0)
    numbers = found.certificate
    assert numbers is not None
    sets = all_splits(8)
    sets = sets[(~sets).sum(axis=1) == 3]
    totals = pairs.totals(sets)
    matrices = totals[..., [[0, 1, 3], [1, 2, 4], [3, 4, 5]]]
    inverse = np.einsum("pia,bpij,pja->bp", numbers.directions, matrices, numbers.directions)
    assert np.all(1.0 / pairs.squared_bounds(sets) <= inverse * (1 + 1e-9))
    lines = np.log(0.5 / numbers.slopes) / 2 - 0.5 + numbers.slopes * inverse
    assert np.all(0.5 * np.log(inverse) <= lines + 1e-9)
    assert np.all(lines.mean(axis=1) <= found.upper_bound + 1e-9)
    assert mean_score(score, pairs, sets).max() <= found.upper_bound


def test_numbers_of_another_form_prove_nothing() -> None:
    pairs = information(12, 6, 3)
    good = bounded_split(pairs, 3, few=0).certificate
    assert good is not None
    with pytest.raises(ValueError, match="trace one"):
        proven(dataclasses.replace(good, directions=2 * good.directions), pairs, MeanLog())
    with pytest.raises(ValueError, match="not negative"):
        proven(dataclasses.replace(good, slopes=-good.slopes), pairs, MeanLog())
    assert isinstance(rate(1, 3), LargeScaleRate)


@pytest.mark.parametrize("slots", ["per-transmitter", "in-total"])
@pytest.mark.parametrize("receivers", [1, 3, 5, 7])
def test_the_best_of_a_size_is_that_of_all_splits(slots: str, receivers: int) -> None:
    """Also with unequal roles, and where the transmitters are the smaller side."""
    pairs = information(14, 8, 4, slots=slots)  # type: ignore[arg-type]
    pairs = dataclasses.replace(pairs, entries=pairs.entries * np.linspace(0.5, 2.0, 8)[:, np.newaxis])
    table = split_table(pairs, lambda sets: sets.sum(axis=-1).astype(float), LIMIT_M)
    expected = table.transmitters[table.best(-table.mean_log_bound, receivers)]
    found = bounded_split(pairs, receivers)
    assert np.array_equal(found.transmitters, expected)
    assert found.gap == 0.0
    assert found.certificate is None
    with pytest.raises(ValueError, match="too many splits"):
        best_of_size(information(1, 24, 1), 12, MeanLog())


def test_a_hundred_access_points_have_a_bound_within_one_per_cent() -> None:
    found = bounded_split(information(13, 100, 8), 50)
    assert found.gap < 0.01


@pytest.mark.parametrize("receivers", [2, 5])
def test_the_relaxation_is_solved_as_cvxpy_solves_it(receivers: int) -> None:
    """The semidefinite program of one round, its matrix from the tables, by another solver."""
    import cvxpy as cp

    pairs, count = information(15, 9, 3), 9
    directions, inverse = selection_bound._directions(pairs.totals(np.arange(count) >= receivers))
    priced = selection_bound._prices(pairs, directions, MeanLog().slope(inverse), receivers)
    form, _ = selection_bound._form(priced)
    found, diagonal = selection_bound._largest_form(form, selection_bound._span(count, receivers), np.zeros(count + 1))
    signs = cp.Variable((count + 1, count + 1), PSD=True)
    normal = np.ones(count + 1)
    normal[0] = 2.0 * receivers - count
    problem = cp.Problem(cp.Maximize(cp.trace(form @ signs)), [cp.diag(signs) == 1, signs @ normal == 0])
    problem.solve(solver="CLARABEL")
    scale = np.abs(np.linalg.eigvalsh(form)).max()
    assert np.diag(found) == pytest.approx(1.0, abs=1e-3)
    assert (form * found).sum() == pytest.approx(problem.value, abs=5e-3 * scale)
    assert problem.value - 1e-6 * scale <= diagonal.sum() <= problem.value + 5e-3 * scale
