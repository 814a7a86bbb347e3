"""The largest SINR: both ends of the bracket proved, against closed forms and the designs' own verdicts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import array, load, sensing_model

from disac.designs.location.design import METHODS, Designer
from disac.designs.location.feasibility import proven_need
from disac.designs.location.largest import largest_sinr
from disac.designs.location.problem import DesignProblem
from disac.metrics.sinr import noncoherent_sinr
from disac.power_limits import TOTAL
from disac.units import db_to_linear, linear_to_db


def problem(name: str = "case_05") -> DesignProblem:
    case = load(name)
    return DesignProblem(sensing_model(case), array(case["h"]), case["PT"], case["sigma_c2"])


@pytest.mark.parametrize("method", METHODS)
def test_both_ends_are_proved_and_designs_agree(method: str) -> None:
    given = problem()
    structure = METHODS[method].structure(given)
    found = largest_sinr(given, structure)
    assert 0 < found.beyond_db - found.reached_db <= 0.01
    assert given.power_share(found.streams.sum(axis=0)) <= 1 + 1e-12
    reached = noncoherent_sinr(given.channels, found.streams, found.streams.sum(axis=0), given.noise_power).min()
    assert linear_to_db(float(reached)) == pytest.approx(found.reached_db, abs=1e-9)
    need = proven_need(given, structure, db_to_linear(found.beyond_db), found.power_dual, found.sinr_dual)
    assert need.proves_infeasible
    designer = Designer(given, method)
    assert designer.design(db_to_linear(found.reached_db - 0.05)).certificate.status == "ok"
    assert designer.design(db_to_linear(found.beyond_db + 0.01)).certificate.status == "infeasible"


def test_more_freedom_reaches_more_and_joint_transmission_is_block_diagonal_anyway() -> None:
    """Received powers see the nodes' blocks alone, so the unconstrained design reaches no more than the phase-agnostic one."""
    given = problem()
    ends = {m: largest_sinr(given, METHODS[m].structure(given)) for m in METHODS}
    assert ends["orthogonal"].reached_db < ends["phase-agnostic"].beyond_db
    assert ends["beamforming"].reached_db == pytest.approx(ends["orthogonal"].reached_db, abs=0.02)
    assert ends["unconstrained-tight"].reached_db == pytest.approx(ends["phase-agnostic"].reached_db, abs=0.02)


def test_one_user_under_total_power_has_a_closed_form() -> None:
    """One user, total power: each subcarrier takes its best node's matched filter, and all reach the same SINR.

    With gain g_l = max_n |h_{n,l}|^2 and power p_l = SINR sigma_c^2 / (L g_l), the sum of p_l is N M P_T.
    """
    given = problem("case_03")
    channels = given.channels[:, :1]
    one = dataclasses.replace(given, channels=channels, power_limit=TOTAL)
    gain = (np.abs(channels) ** 2).sum(axis=-1).max(axis=0)[0]
    total = one.per_antenna_power * one.nodes * one.antennas
    expected = total / (one.noise_power / one.subcarriers * (1.0 / gain).sum())
    found = largest_sinr(one, METHODS["phase-agnostic"].structure(one), tolerance_db=1e-3)
    assert found.reached_db - 1e-6 <= linear_to_db(float(expected)) <= found.beyond_db + 1e-6
