"""The studies that come with the project: they load, their schema is in step, their experiment keeps rule R2."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from disac.designs.location.design import METHODS
from flows.catalogue import catalogue, study_schema
from flows.data_files import data_dir, study_path
from pipeline.errors import UsageError
from pipeline.study import load_study
from pipeline.testing import check_line_independence

STUDIES = sorted(p.stem for p in (data_dir() / "studies").glob("*.yaml"))


def test_the_committed_schema_is_in_step() -> None:
    committed = (data_dir() / "study.schema.json").read_text(encoding="utf-8")
    assert committed == study_schema(), "run `disac schema > data/study.schema.json`"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_its_schema_and_is_called_like_its_file(name: str) -> None:
    path = study_path(name)
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../study.schema.json")
    assert load_study(path).name == name


def test_the_catalogue_counts_cells_and_cost() -> None:
    rows = {row["study"]: row for row in catalogue()}
    assert rows["quick"]["cells"] == 12 * 2 * 4 * 4
    assert rows["ofdm-fig5"]["paper"] == "ofdm"
    assert all(row["rough_seconds"] > 0 for row in rows.values())


def test_an_unknown_study_is_a_near_miss() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'ofdm-fig4[ab]'"):
        study_path("ofdm-fig4")
    with pytest.raises(UsageError, match="no study file"):
        study_path(str(Path("nowhere") / "study.yaml"))


ARRAYS = ("arrays.transmit_antennas=3", "arrays.receive_antennas=3", "waveform.subcarriers=4")
FIRST = ("axes.realisation=[0]",)
KNOWN = ("axes.roles=[both]", "axes.known=[link 0.1 rad, link unknown]")
LINES = {
    **{
        f"ofdm-tradeoff, {design}": ("quick", (
            *ARRAYS, *FIRST, "layout.target_count=1", "axes.user_count=[1]", f"axes.design=[{design}]",
            "axes.sinr_db=[0, 30, 10, 60]",
        ))
        for design in METHODS
    },
    **{
        f"ofdm-tradeoff, {design} by the reference": ("quick", (
            *ARRAYS, *FIRST, "layout.target_count=1", "axes.user_count=[1]", f"axes.design=[{design}]",
            "options.solver=reference", "axes.sinr_db=[10, 60]",
        ))
        for design in METHODS
    },
    **{
        f"ofdm-tradeoff, {design} by what is known": (
            "ofdm-synchronisation", (*ARRAYS, *FIRST, *KNOWN, f"axes.design=[{design}]"),
        )
        for design in ("synchronised", "phase-agnostic", "isotropic")
    },
    "ofdm-echoes": ("ofdm-rmse", (
        *ARRAYS, *FIRST, "options.trials=5", "options.area_m=30.0", "axes.design=[phase-agnostic]",
        "axes.amplitude_db=[-60, -50, -40, -20]",
    )),
    "ofdm-theory": ("ofdm-theory", (*ARRAYS, "axes.realisation=[0, 1]")),
    "robust-tradeoff": ("robust-fig5", (
        "arrays.antennas=4", "options.draws=200", "axes.realisation=[0, 1]", "axes.sinr_db=[0, 10]",
        "axes.echo_snr_db=[-20, -10, 0]",
    )),
    "cross-section": ("robust-fig2", ("axes.realisation=[0, 1]",)),
    "dmimo-tradeoff": ("dmimo-fig3c", (
        "options.channel_draws=2", "axes.realisation=[0, 1]", "axes.echoes_of=[all]", "axes.antennas=[2]",
        "axes.user_count=[4]", "axes.communication_share=[0.1, 0.9]",
    )),
    "cross-table": ("cross-x0", (*FIRST, "axes.sinr_db=[10]", "axes.design=[robust-zero-forcing, ofdm-orthogonal]")),
}  # fmt: skip
"""Of each experiment a study, and what makes it small."""


@pytest.mark.parametrize("case", LINES)
def test_r2_a_cell_does_not_depend_on_its_line(case: str) -> None:
    name, overrides = LINES[case]
    study = load_study(study_path(name), overrides=overrides)
    assert study.experiment.name == case.partition(",")[0]
    statuses = [cell["status"] for cell in check_line_independence(study)]
    assert set(statuses) <= {"ok", "infeasible"}
    assert statuses.count("infeasible") == (name == "quick"), "60 dB is out of reach"


def test_r2_every_experiment_is_tried() -> None:
    ours = {point.name for point in entry_points(group="disac.experiments") if point.module.startswith("disac.")}
    assert {case.partition(",")[0] for case in LINES} == ours
