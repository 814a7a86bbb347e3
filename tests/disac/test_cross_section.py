"""The cross-section over the aspect: its profile in closed form, and the law of its draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import i0
from scipy.stats import gamma, kstest

from disac.experiments.cross_section import ASPECTS_DEG, Options, experiment
from disac.scenarios.coherent import CoherentScenario


def drawn(realisation: int = 0, seed: int = 1, **target: Any) -> dict[str, Any]:
    scenario = CoherentScenario.model_validate({"target": target, "channel": {"realisation": realisation, "seed": seed}})
    (cell,) = experiment.run([scenario], Options())
    assert cell["status"] == "ok"
    return dict(cell)


@pytest.mark.parametrize(("swing_db", "lobe_deg"), [(0.0, 0.0), (12.0, 0.0), (12.0, 40.0), (30.0, -75.0)])
def test_the_profile_has_its_lobes_its_swing_and_mean_one(swing_db: float, lobe_deg: float) -> None:
    """``10 log10 Omega = (swing / 2) cos 2(psi - psi_0) - 10 log10 I_0(ln(10) swing / 20)``: psi_0 from the first node."""
    profile = drawn(lobe_swing_db=swing_db, lobe_deg=lobe_deg)["profile_db"]
    assert profile.shape == (72,)
    mean_db = 10.0 * np.log10(np.mean(10.0 ** (profile / 10.0)))
    assert mean_db == pytest.approx(0.0, abs=1e-6), "a sum over even steps is exact for so smooth a function"
    # The first node's bearing turns the lobes; the first harmonic of the profile tells where they are.
    aspects = np.deg2rad(ASPECTS_DEG)
    harmonic = np.mean(profile * np.exp(2j * aspects))
    assert 4.0 * abs(harmonic) == pytest.approx(swing_db, abs=1e-9)
    turned = np.angle(harmonic) / 2.0 if swing_db else 0.0
    closed = swing_db / 2.0 * np.cos(2.0 * (aspects - turned)) - 10.0 * np.log10(i0(np.log(10.0) * swing_db / 20.0))
    np.testing.assert_allclose(profile, closed, atol=1e-9)
    flat = drawn(lobe_swing_db=swing_db, lobe_deg=0.0)["profile_db"]
    first = np.angle(np.mean(flat * np.exp(2j * aspects))) / 2.0 if swing_db else 0.0
    assert np.cos(2.0 * (turned - first - np.deg2rad(lobe_deg))) == pytest.approx(1.0, abs=1e-9) or swing_db == 0.0


@pytest.mark.parametrize(("law", "shape"), [("chi-square", 4.0), ("swerling-1", 1.0), ("swerling-3", 2.0)])
def test_draws_over_the_profile_have_the_gamma_law(law: str, shape: float) -> None:
    """The law of Kolmogorov and Smirnov over 40 realisations of 72 aspects: a right one fails in one seed of a million."""
    cells = [drawn(realisation, law=law, lobe_swing_db=12.0) for realisation in range(40)]
    squares = 10.0 ** (np.array([cell["drawn_db"] - cell["profile_db"] for cell in cells]) / 10.0)
    assert kstest(squares.ravel(), gamma(shape, scale=1.0 / shape).cdf).pvalue > 1e-6
    assert kstest(squares.ravel(), gamma(1.6 * shape, scale=1.0 / (1.6 * shape)).cdf).pvalue < 1e-6, "another shape is seen"
    # Neither neighbouring aspects nor neighbouring realisations go together: within five deviations of 40 * 72 pairs.
    normal = (squares - squares.mean()) / squares.std()
    for moved in (np.roll(normal, 1, axis=0), np.roll(normal, 1, axis=1)):
        assert abs(np.mean(normal * moved)) < 5.0 / np.sqrt(normal.size)
    np.testing.assert_allclose([c["spread_db"] for c in cells], [np.std(c["drawn_db"] - c["profile_db"]) for c in cells])


def test_r1_a_draw_belongs_to_its_seed_realisation_and_aspect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer aspects keep the draws of those that stay; the profile changes no draw; seed and realisation change all."""
    whole = drawn()
    monkeypatch.setattr("disac.experiments.cross_section.ASPECTS_DEG", ASPECTS_DEG[10::7])
    np.testing.assert_array_equal(drawn()["drawn_db"], whole["drawn_db"][10::7])
    monkeypatch.undo()
    lobed = drawn(lobe_swing_db=12.0)
    np.testing.assert_allclose(lobed["drawn_db"] - lobed["profile_db"], whole["drawn_db"] - whole["profile_db"], atol=1e-9)
    for other in (drawn(realisation=1), drawn(seed=2)):
        assert (other["drawn_db"] != whole["drawn_db"]).all()
