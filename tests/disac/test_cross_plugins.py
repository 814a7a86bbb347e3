"""A design and a measure of a plugin enter the common table by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from disac.designs.cross import PHASES, Record, Row
from disac.drops.common import CommonNetwork
from disac.experiments import cross_table
from disac.experiments.base import Variable
from disac.experiments.cross_table import Metric, Options, experiment
from disac.scenarios.common import CommonScenario

SMALL = CommonScenario(node_count=2, antennas=3, user_count=1, bandwidth_hz=5e6, subcarrier_spacing_hz=1.25e6)
PAPR = Variable("mean_papr_db", "mean ratio of the strongest to the mean subcarrier", "dB")


def stored(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell as a store returns it: numbers that it does not have are NaN."""
    return {variable.name: np.nan for variable in experiment.variables if not variable.dims} | cell


Install = Callable[..., None]


def half_power(network: CommonNetwork, scenario: CommonScenario) -> Record:
    size = network.nodes * network.antennas
    each = network.total_power_w / (2.0 * size * network.subcarriers)
    sensing = np.broadcast_to(each * np.eye(size, dtype=np.complex128), (network.subcarriers, size, size))
    return Record("ok", "", np.zeros((len(network.channels[0]), *sensing.shape), dtype=np.complex128), sensing.copy())


def spread(network: CommonNetwork, scenario: CommonScenario, users: Any, sensing: Any) -> dict[str, float]:
    power = np.real(np.einsum("ulii->l", users) + np.einsum("lii->l", sensing))
    return {"mean_papr_db": float(10.0 * np.log10(power.max() / power.mean()))}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install objects as entry points: name, group and object."""
    module = ModuleType("plugin_of_a_user")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points: list[EntryPoint] = []

    def add(name: str, group: str, offered: object) -> None:
        setattr(module, name, offered)
        points.append(EntryPoint(name, f"{module.__name__}:{name}", group))
        forget()

    def forget() -> None:
        cross_table._metrics.cache_clear()
        cross_table._installed.cache_clear()

    monkeypatch.setattr(cross_table, "entry_points", lambda group: [point for point in points if point.group == group])
    forget()
    yield add
    monkeypatch.undo()
    forget()


def test_a_design_enters_and_is_scored_and_shared_along_what_it_ignores(install: Install) -> None:
    install("half", cross_table.PLUGINS, Row(half_power, "", "nothing", PHASES))
    options = Options(design="half")
    cells = experiment.run([SMALL, SMALL.model_copy(update={"delta_rad": 1.0})], options)
    assert [cell["radiated_w"] for cell in cells] == [pytest.approx(SMALL.total_power_w / 2.0)] * 2
    assert cells[0]["rcrb_nc_m"] == cells[1]["rcrb_nc_m"] > 0
    assert experiment.shared_axes(options) == ("clock_std_s", "phase_std_rad")
    assert experiment.modules == ("disac.experiments.cross_table", "plugin_of_a_user")
    assert experiment.recheck(SMALL, options, stored(cells[0])) == []
    with pytest.raises(ValueError, match="did you mean 'half'"):
        Options(design="halff")


def test_a_measure_enters_and_is_stored_and_checked(install: Install) -> None:
    install("papr", cross_table.METRICS, Metric((PAPR,), spread))
    assert experiment.variables[-1] == PAPR
    assert "plugin_of_a_user" in experiment.modules
    options = Options(design="ofdm-phase-agnostic")
    cell = experiment.run([SMALL], options)[0]
    assert cell["mean_papr_db"] > 0.0
    assert experiment.recheck(SMALL, options, stored(cell)) == []
    (told,) = experiment.recheck(SMALL, options, stored(cell) | {"mean_papr_db": 99.0})
    assert told.startswith("mean_papr_db is stored as 99")


def test_without_plugins_the_table_is_as_it_is(install: Install) -> None:
    assert experiment.variables == cross_table.VARIABLES
    assert experiment.modules == ("disac.experiments.cross_table",)


def test_plugins_are_searched_once_along_a_path(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []
    monkeypatch.setattr(cross_table, "entry_points", lambda group: searched.append(group) or [])
    for _ in range(3):
        Options(design="robust-phase")
    assert searched == [cross_table.PLUGINS]
    monkeypatch.syspath_prepend("elsewhere")
    Options(design="robust-phase")
    assert searched == [cross_table.PLUGINS] * 2


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        (spread, "expected a Metric"),
        (Metric((Variable("rcrb_m", "again"),), spread), "the name 'rcrb_m' of its column is taken"),
        (Metric((Variable("papr", "each", dims=("subcarrier",)),), spread), "expected a scalar"),
    ],
    ids=["a function", "taken", "dimensions"],
)
def test_a_measure_that_does_not_fit_is_refused(install: Install, offered: object, told: str) -> None:
    install("papr", cross_table.METRICS, offered)
    with pytest.raises(ValueError, match=told):
        _ = experiment.variables
