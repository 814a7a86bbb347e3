"""For each measure with a design that is optimal for it by certificate, no row that meets the same constraints is better.

What breaks this is an error in a design, a score, or the map between a paper and the common network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from disac.experiments.cross_table import CrossTable, Options, experiment
from disac.scenarios.common import CommonScenario
from disac.units import db_to_linear


@dataclass(frozen=True)
class Optimum:
    """A design that is optimal for a measure under constraints that the rivals meet, too.

    Attributes
    ----------
    design
        Row with the certificate.
    column
        Measure; the square of a root, the ratio of a level in dB.
    largest
        Whether more is better.
    rivals
        Rows with the same power and, at least, the same SINR in the same sense.
    flat
        Whether the rows are compared under a flat spectrum. The power limits of the optimum are those of each subcarrier.
    """

    design: str
    column: str
    largest: bool
    rivals: tuple[str, ...]
    flat: bool = False

    def value(self, cell: dict[str, float]) -> float:
        """The measure of a cell. A signal that does not sense has no divergence."""
        if self.column.endswith("_db"):
            return float(db_to_linear(cell[self.column]))
        return cell.get(self.column, 0.0) if self.largest else cell[self.column] ** 2

    def bound(self, cell: dict[str, float]) -> float:
        """What no design exceeds (falls below), from the certificate's gap."""
        value = self.value(cell)
        # Gaps are relative to the bound for maximised objectives, to the value for minimised ones.
        return value * (1.0 + cell["relative_gap"]) if self.largest else value * (1.0 - cell["relative_gap"])


OF_000 = ("robust-none", "robust-lemma1", "robust-phase", "robust-zero-forcing")
BANDS = ("robust-none-band", "robust-none-band-each", "robust-phase-band", "robust-phase-band-each")
OF_002 = ("ofdm-phase-agnostic", "ofdm-orthogonal", "ofdm-beamforming", "ofdm-unconstrained-tight")
SERVING = (*OF_002, "noncoherent-block", "coherent", "synchronised", *OF_000, *BANDS, "robust-known-data")
"""Rows with the same power that serve users."""

OPTIMA = (
    # Noncoherent SINR, echoes known as the scenario states.
    Optimum(
        "synchronised", "rcrb_m", False,
        ("ofdm-phase-agnostic", "ofdm-orthogonal", "ofdm-unconstrained-tight", "noncoherent-block"),
    ),
    # Coherent SINR, all phases known. What the designs of 000 promise at known phases is at least as much.
    Optimum("coherent", "rcrb_cc_m", False, OF_000),
    # Coherent SINR, everything that is sent counts as light on the target; the power of each subcarrier is the same.
    Optimum("robust-known-data", "kld", True, ("coherent", *OF_000), flat=True),
    # The largest least SINR of all rows, whatever they promise.
    Optimum("largest-sinr", "sinr_nc_db", True, (*SERVING, "largest-sinr-coherent")),
    Optimum("largest-sinr-coherent", "sinr_c_db", True, (*SERVING, "largest-sinr")),
    # Phases unknown, nodes uncorrelated.
    Optimum("ofdm-phase-agnostic", "rcrb_nc_m", False, ("ofdm-orthogonal", "noncoherent-block")),
    # Divergence of the sensing signal over the band, power divided freely, for each law of the cross-section.
    Optimum("robust-none-band", "sensing_only_interval_kld_one", True, OF_000 + BANDS),
    Optimum("robust-none-band-each", "sensing_only_interval_kld", True, OF_000 + BANDS),
)  # fmt: skip
"""The design of 000 without errors is optimal for the divergence of its sensing signal tone by tone; see below."""


REFUSING = (
    ("ofdm-phase-agnostic", "largest-sinr", False), ("synchronised", "largest-sinr", False),
    ("coherent", "largest-sinr-coherent", False), ("robust-none", "largest-sinr-coherent", True),
    ("robust-known-data", "largest-sinr-coherent", True),
)  # fmt: skip
"""Rows that serve whatever SINR can be served, with the row of the largest one, and whether under a flat spectrum."""


def drawn(number: int) -> CommonScenario:
    """A random joint scenario, small enough for every design in a second."""
    random = np.random.default_rng(number)
    delta = (0.0, 0.05, 0.3, 1.0, 3.0, None)[random.integers(6)]
    return CommonScenario(
        seed=int(random.integers(10**6)), node_count=int(random.integers(1, 5)), user_count=int(random.integers(1, 4)),
        antennas=int(random.integers(3, 7)), bandwidth_hz=float(random.choice([5e6, 10e6])), subcarrier_spacing_hz=1.25e6,
        sinr_db=float(random.uniform(-5.0, 25.0)), delta_rad=delta, target_radius_m=20.0,
        cross_section_m2=float(10.0 ** random.uniform(-1.0, 1.0)), clock_std_s=float(random.choice([0.0, 1e-9])),
        phase_std_rad=float(random.choice([0.0, 0.1])), phase_bound_rad=float(random.uniform(0.0, 0.2)),
    )  # fmt: skip


def broken(scenario: CommonScenario) -> list[str]:
    """Sentences on rows that are better than an optimum's bound."""
    cells: dict[tuple[str, bool], dict[str, float]] = {}
    level = scenario.model_copy(update={"spectrum": "flat"})

    def cell(design: str, flat: bool = False) -> dict[str, float]:
        if (design, flat) not in cells:
            cells[design, flat] = experiment.run([level if flat else scenario], Options(design=design))[0]
        return cells[design, flat]

    found = []
    for optimum in OPTIMA:
        best = cell(optimum.design, optimum.flat)
        for rival in optimum.rivals:
            other = cell(rival, optimum.flat)
            if best["status"] == "infeasible" and other["status"] in ("ok", "inaccurate"):
                found.append(f"{rival} serves where {optimum.design} is proven infeasible")
            if best["status"] != "ok" or other["status"] not in ("ok", "inaccurate"):
                continue
            value, bound = optimum.value(other), optimum.bound(best)
            if value > bound * (1 + 1e-6) if optimum.largest else value < bound * (1 - 1e-6):
                found.append(f"{optimum.column} of {rival}: {value:.9g}, beyond the bound {bound:.9g} of {optimum.design}")
    for design, largest, flat in REFUSING:
        best, asked = cell(largest, flat), scenario.sinr_db
        reached = best["sinr_nc_db" if largest == "largest-sinr" else "sinr_c_db"]
        if best["status"] == "ok" and cell(design, flat)["status"] == "infeasible" and reached > asked:
            found.append(f"{design} is proven infeasible at {asked:.6f} dB, and {largest} reaches {reached:.6f} dB")
    nominal = cell("robust-none")
    for rival in OF_000[1:]:
        other = cell(rival)
        if nominal["status"] == "infeasible" and other["status"] in ("ok", "inaccurate"):
            found.append(f"{rival} serves where robust-none is proven infeasible")
        if nominal["status"] == "ok" and other["status"] in ("ok", "inaccurate"):
            # Per-node power: each tone's gap is at most relative_gap, and so is that of the mean over tones.
            bound = nominal.get("sensing_only_kld", 0.0) * (1.0 + nominal["relative_gap"])
            if other.get("sensing_only_kld", 0.0) > bound * (1 + 1e-6):
                found.append(f"sensing_only_kld of {rival}: {other['sensing_only_kld']:.9g}, beyond {bound:.9g}")
    return found


@pytest.mark.parametrize("number", range(3))
def test_no_row_is_better_than_the_optimum(number: int) -> None:
    assert broken(drawn(number)) == []


def test_a_row_that_is_too_good_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control: a score that is a little too small, and one that is a little too large."""
    run = CrossTable.run

    def flattered(self: CrossTable, scenarios: list[CommonScenario], options: Options) -> list[dict[str, Any]]:
        cells = run(self, scenarios, options)
        if options.design == "noncoherent-block":
            cells[0]["rcrb_m"] *= 0.5
        if options.design == "robust-phase":
            cells[0]["sensing_only_kld"] *= 9.0
            cells[0]["kld"] *= 9.0
        return cells

    monkeypatch.setattr(CrossTable, "run", flattered)
    said = broken(CommonScenario(subcarrier_spacing_hz=5e6))
    assert any(sentence.startswith("rcrb_m of noncoherent-block") for sentence in said)
    assert any(sentence.startswith("sensing_only_kld of robust-phase") for sentence in said)
    assert any(sentence.startswith("kld of robust-phase") for sentence in said)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_row_is_better_than_the_optimum_in_200_scenarios() -> None:
    found = {number: said for number in range(200) if (said := broken(drawn(number)))}
    assert found == {}
