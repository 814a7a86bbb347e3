"""Verdicts by counting: Clopper-Pearson against SciPy, and the promise of 95 % for one look and for several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from pipeline.asking.verdict import (
    RISK,
    VERDICTS,
    Verdicts,
    at_least,
    at_most,
    fewest,
    judge,
    looks,
    lower_bound,
    together,
    upper_bound,
)

MET, NOT_MET, UNDECIDED = VERDICTS["met"], VERDICTS["not_met"], VERDICTS["undecided"]


def one_look(hits: NDArray[np.int64], counted: NDArray[np.int64], share: float) -> Verdicts:
    return judge(hits[:, np.newaxis], counted[:, np.newaxis], np.ones((len(hits), 1), bool), share)


def test_four_of_four_prove_47_per_cent_and_59_of_59_prove_95() -> None:
    assert float(lower_bound(4, 4)) == pytest.approx(0.4729, abs=5e-5)
    for share, code in ((0.47, MET), (0.48, UNDECIDED)):
        assert one_look(np.array([4]), np.array([4]), share).code.tolist() == [code]
    assert one_look(np.array([58, 59]), np.array([58, 59]), 0.95).code.tolist() == [UNDECIDED, MET]
    assert (fewest(0.95), fewest(0.9), fewest(0.99)) == (59, 29, 299)


@given(st.integers(0, 150).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.02, 0.98))
def test_bounds_and_tails_are_those_of_scipy(count: tuple[int, int], share: float) -> None:
    k, n = count
    assert float(at_least(k, n, share)) == pytest.approx(float(binom.sf(k - 1, n, share)), abs=1e-12)
    assert float(at_most(k, n, share)) == pytest.approx(float(binom.cdf(k, n, share)), abs=1e-12)
    if n:
        for bound, alternative, side in ((lower_bound, "greater", "low"), (upper_bound, "less", "high")):
            expected = getattr(binomtest(k, n, alternative=alternative).proportion_ci(0.95, "exact"), side)
            assert float(bound(k, n)) == pytest.approx(expected, abs=1e-9)
    verdict = one_look(np.array([k]), np.array([n]), share)
    assert (verdict.code[0] == MET) == (n > 0 and binomtest(k, n, share, "greater").pvalue <= RISK)
    assert (verdict.code[0] == NOT_MET) == (n > 0 and binomtest(k, n, share, "less").pvalue <= RISK)
    assert verdict.low[0] >= share - 1e-9 if verdict.code[0] == MET else verdict.low[0] <= share + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.95])
def test_one_look_errs_with_at_most_5_per_cent_whatever_the_number(share: float) -> None:
    for n in range(1, 200):
        every = np.arange(n + 1)
        code = one_look(every, np.full(n + 1, n), share).code
        chance = binom.pmf(every, n, share)  # the worst truth: a point that just fails, or just meets
        assert chance[code == MET].sum() <= RISK + 1e-12
        assert chance[code == NOT_MET].sum() <= RISK + 1e-12
    assert chance[code == MET].sum() > 0.5 * RISK  # the bound is used, not far from reached


def sequential_risk(planned: int, share: float, most: int, truth: float) -> dict[int, float]:
    """The exact probability of each verdict under repeated looks, from the distribution of the counts that are still open."""
    at = looks(planned, share, most)
    chance = np.ones(1)  # of each number of hits, at points that are open
    open_counts: list[int] = []  # for each earlier look a count that decides nothing
    decided = {MET: 0.0, NOT_MET: 0.0}
    for number, n in enumerate(at):
        step = n - (at[number - 1] if number else 0)
        chance = np.convolve(chance, binom.pmf(np.arange(step + 1), step, truth))
        hits = np.tile(np.array([*open_counts, 0, *(0 for _ in at[number + 1 :])]), (n + 1, 1))
        hits[:, number] = np.arange(n + 1)
        there = np.tile(np.arange(len(at)) <= number, (n + 1, 1))
        code = judge(hits, np.tile(np.array(at), (n + 1, 1)), there, share, at).code
        for verdict in decided:
            decided[verdict] += float(chance[code == verdict].sum())
        chance = np.where(code == UNDECIDED, chance, 0.0)
        open_counts.append(int(np.flatnonzero(code == UNDECIDED)[0]))
    return decided


@pytest.mark.parametrize(("planned", "share"), [(4, 0.9), (3, 0.5), (30, 0.9), (60, 0.95), (1, 0.8)])
def test_repeated_looks_err_with_at_most_5_per_cent(planned: int, share: float) -> None:
    found = sequential_risk(planned, share, 130, share)
    assert found[MET] <= RISK
    assert found[NOT_MET] <= RISK
    assert found[MET] > 0.0
    good, bad = (
        sequential_risk(planned, share, 130, share + 0.9 * (1 - share)),
        sequential_risk(planned, share, 130, 0.5 * share),
    )
    assert good[MET] > 0.5  # looks that decide nothing would keep the promise, too
    assert bad[NOT_MET] > 0.9


def test_looks_depend_on_the_share_and_not_on_where_they_end() -> None:
    assert looks(4, 0.9, 100) == (4, 9, 18, 36, 54, 81)
    assert looks(4, 0.9, 130) == (*looks(4, 0.9, 100), 122)
    assert looks(40, 0.9, 100) == (40, 54, 81)
    assert looks(40, 0.9, 40) == (40,)


def test_a_look_waits_until_none_of_its_realisations_is_missing() -> None:
    hits, counted = np.array([[4, 36], [4, 36]]), np.array([[4, 36], [4, 36]])
    found = judge(hits, counted, np.array([[True, True], [True, False]]), 0.9, (4, 36))
    assert found.code.tolist() == [MET, UNDECIDED]
    assert found.awaited.tolist() == [0, 36]


def test_the_first_verdict_stands() -> None:
    counted = np.array([[30, 40]])
    found = judge(np.array([[30, 30]]), counted, np.ones((1, 2), bool), 0.9, (30, 40))
    assert found.code.tolist() == [MET]
    assert found.low[0] == pytest.approx(0.905, abs=1e-3)


@given(st.lists(st.floats(0, 1), max_size=40))
def test_points_judged_together_are_those_of_benjamini_and_hochberg(p_values: list[float]) -> None:
    p = np.array(p_values)
    stands = together(p)
    ranked = sorted(p_values)
    passing = [value for rank, value in enumerate(ranked, 1) if value <= RISK * rank / len(ranked)]
    assert stands.sum() == sum(value <= max(passing) for value in p_values) if passing else not stands.any()


Population = Callable[[np.random.Generator, int], NDArray[np.float64]]


def simulated(population: Population, planned: int, most: int, seed: int) -> tuple[Verdicts, NDArray[np.float64]]:
    """Verdicts on many points of a population of true shares, with all looks up to a limit."""
    random = np.random.default_rng(seed)
    truth = population(random, 40_000)
    at = looks(planned, 0.9, most)
    draws = random.random((len(truth), at[-1])) < truth[:, np.newaxis]
    hits = np.stack([draws[:, :n].sum(axis=1) for n in at], axis=1)
    counted = np.tile(np.array(at), (len(truth), 1))
    return judge(hits, counted, np.ones(hits.shape, bool), 0.9, at), truth


POPULATIONS: dict[str, Population] = {
    "of every share": lambda random, n: random.random(n),
    "near to the share": lambda random, n: random.uniform(0.8, 1.0, n),
    "of which most are good": lambda random, n: random.beta(30, 1.5, n),
    "of which a quarter just fail": lambda random, n: np.where(random.random(n) < 0.25, 0.899, 0.99),
}


@pytest.mark.slow
@pytest.mark.parametrize(("planned", "most"), [(4, 4), (30, 30), (60, 60), (4, 130), (30, 130)])
@pytest.mark.parametrize("name", POPULATIONS)
def test_of_points_called_met_at_90_per_cent_at_most_5_per_cent_are_not(name: str, planned: int, most: int) -> None:
    verdicts, truth = simulated(POPULATIONS[name], planned, most, seed=planned + most)
    met, fails = verdicts.code == MET, truth < 0.9
    wrong = (met & fails).sum()
    # The promise on one point: of those that fail, at most 5 % are called met (three standard errors of the simulation beside).
    assert wrong / fails.sum() <= RISK + 3 * np.sqrt(RISK / fails.sum())
    # And of those called met at most 5 % fail, in these populations.
    assert wrong <= RISK * met.sum() + 3 * np.sqrt(RISK * met.sum())
    if planned >= 30 or most > planned:
        assert met.sum() > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("planned", "most"), [(60, 60), (4, 130)])
def test_judged_together_the_promise_holds_where_nearly_all_points_fail(planned: int, most: int) -> None:
    shares, alone_wrong = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = np.where(random.random(400) < 0.05, 0.9999, 0.895)
        at = looks(planned, 0.9, most)
        draws = random.random((len(truth), at[-1])) < truth[:, np.newaxis]
        hits = np.stack([draws[:, :n].sum(axis=1) for n in at], axis=1)
        found = judge(hits, np.tile(np.array(at), (400, 1)), np.ones(hits.shape, bool), 0.9, at)
        stands, met = together(found.p_value), found.code == MET
        shares.append((stands & (truth < 0.9)).sum() / max(1, stands.sum()))
        alone_wrong.append((met & (truth < 0.9)).sum() / max(1, met.sum()))
    assert np.mean(alone_wrong) > RISK  # one by one, too many of those called met are not
    assert np.mean(shares) <= RISK + 3 * np.std(shares) / np.sqrt(len(shares))
