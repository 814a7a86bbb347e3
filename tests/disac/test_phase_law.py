"""Laws of phases against their integrals, and what they make of the hybrid bound."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import vonmises
from test_synchronisation import rcrb, small, x0

from disac.metrics.fisher import attenuation, fisher_information, location_derivatives
from disac.metrics.synchronisation import Synchronisation
from disac.phase_law import concentration, draw_phases, half_width, phase_precision

DEVIATIONS = [3e-3, 0.02, 0.05, 0.3, 1.0, 2.0, 4.0, 7.0]


@pytest.mark.parametrize("std_rad", DEVIATIONS)
def test_concentration_and_precision_are_integrals_of_the_density(std_rad: float) -> None:
    law = vonmises(concentration(std_rad))
    edge = min(np.pi, 12.0 * std_rad)
    mean = quad(lambda phi: np.cos(phi) * law.pdf(phi), -edge, edge, epsabs=1e-13, epsrel=1e-10, limit=400)[0]
    assert mean == pytest.approx(np.exp(-(std_rad**2) / 2.0), rel=1e-7, abs=1e-12)
    kappa = concentration(std_rad)
    score = quad(lambda phi: (kappa * np.sin(phi)) ** 2 * law.pdf(phi), -edge, edge, epsabs=0.0, epsrel=1e-10, limit=400)[0]
    assert phase_precision(std_rad, "von-mises") == pytest.approx(score, rel=1e-7)
    assert std_rad < 1.0 or phase_precision(std_rad, "von-mises") < phase_precision(std_rad, "normal")


def test_both_laws_are_one_where_phases_do_not_wrap() -> None:
    for std_rad in (1e-6, 1e-3, 9.9e-3, 1.01e-2):
        assert phase_precision(std_rad, "von-mises") * std_rad**2 == pytest.approx(1.0, abs=std_rad**4)
    assert concentration(9.999999e-3) == pytest.approx(concentration(1.0000001e-2), rel=1e-6)
    assert concentration(0.0) == phase_precision(0.0, "von-mises") == float("inf")
    assert concentration(float("inf")) == phase_precision(float("inf"), "von-mises") == 0.0


@pytest.mark.parametrize("std_rad", DEVIATIONS)
def test_half_width_holds_its_share(std_rad: float) -> None:
    width = half_width(std_rad)
    assert 2.0 * vonmises(concentration(std_rad)).cdf(width) - 1.0 == pytest.approx(0.95, abs=1e-6)
    assert half_width(0.0) == 0.0
    assert half_width(float("inf")) == pytest.approx(0.95 * np.pi)


def test_draws_have_the_law() -> None:
    """Means of a hundred thousand draws within five standard errors."""
    for std_rad in (0.05, 0.6, 2.0, float("inf")):
        drawn = draw_phases(np.random.default_rng(1), std_rad, (100_000,))
        expected, second = np.exp(-(std_rad**2) / 2.0), np.mean(np.cos(drawn) ** 2)
        assert np.cos(drawn).mean() == pytest.approx(expected, abs=5.0 * np.sqrt(second / 1e5) * max(std_rad, 1.0))
        assert np.sin(drawn).mean() == pytest.approx(0.0, abs=5.0 * np.sqrt(0.5 / 1e5))
    assert not draw_phases(np.random.default_rng(1), 0.0, (3,)).any()


def test_mean_information_over_von_mises_links_is_the_attenuated_one() -> None:
    """Monte Carlo over the phases of the links: each entry within five standard errors of F(D_c[R])."""
    model, covariances = small(5, link_phase_std_rad=0.8, phase_std_rad=0.0, phase_law="von-mises")
    expected = fisher_information(location_derivatives(model), covariances * attenuation(model), model.noise_power)
    random, drawn = np.random.default_rng(2), []
    for _ in range(1500):
        turned = model.amplitudes * np.exp(1j * draw_phases(random, 0.8, model.amplitudes.shape))
        drawn.append(fisher_information(
            location_derivatives(dataclasses.replace(model, amplitudes=turned)), covariances, model.noise_power
        )[:2, :2])  # fmt: skip
    error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    assert (np.abs(np.mean(drawn, axis=0) - expected[:2, :2]) < 5.0 * error + 1e-9 * np.abs(expected[:2, :2])).all()
    assert (
        np.abs(fisher_information(location_derivatives(model), covariances, model.noise_power) - expected)[:2, :2].max() > 0.0
    )


def test_the_bound_goes_from_the_coherent_to_the_noncoherent_one() -> None:
    found = []
    for std_rad in (0.0, 1e-3, 0.05, 0.3, 1.0, 2.0, 3.0, 5.0, 20.0, float("inf")):
        model, even = x0(link_phase_std_rad=std_rad, phase_std_rad=0.0, phase_law="von-mises")
        found.append(rcrb(model, even))
    assert (np.diff(found) > -1e-9 * np.array(found[1:])).all()
    model, even = x0(link_phase_std_rad=0.0, phase_std_rad=0.0)
    assert found[0] == pytest.approx(rcrb(model, even), rel=1e-12)
    model, even = x0(link_phase_std_rad=float("inf"), phase_std_rad=0.0)
    assert found[-1] == found[-2] == pytest.approx(rcrb(model, even), rel=1e-9)
    normal, even = x0(link_phase_std_rad=3.0, phase_std_rad=0.0)
    assert rcrb(normal, even) < 0.9 * found[6], "the normal law counts information that wraps away"


def test_oscillators_may_have_the_law_too() -> None:
    split = {"split": True, "link_phase_std_rad": 0.0}
    near = [rcrb(*x0(phase_std_rad=1e-3, phase_law=law, **split)) for law in ("normal", "von-mises")]
    far = [rcrb(*x0(phase_std_rad=3.0, phase_law=law, **split)) for law in ("normal", "von-mises")]
    assert near[1] == pytest.approx(near[0], rel=1e-6)
    assert far[1] > far[0]
    assert rcrb(*x0(phase_std_rad=20.0, phase_law="von-mises", **split)) == pytest.approx(
        rcrb(*x0(phase_std_rad=float("inf"), **split)), rel=1e-9
    )
    assert Synchronisation(phase_law="von-mises").coherence(4, 1e6).tolist() == [0.0] * 4
