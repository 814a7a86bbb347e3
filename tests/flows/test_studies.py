"""The studies that come with the project: they load, their schema is in step, their experiment keeps rule R2."""

from __future__ import annotations

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


@pytest.mark.parametrize("design", METHODS)
def test_r2_the_tradeoff_keeps_its_bits_in_any_line(design: str) -> None:
    small = ["arrays.transmit_antennas=3", "arrays.receive_antennas=3", "waveform.subcarriers=4", "layout.target_count=1"]
    axes = ["axes.sinr_db=[0, 10, 20, 30, 60]", f"axes.design=[{design}]", "axes.user_count=[1]", "axes.realisation=[0]"]
    check_line_independence(load_study(study_path("quick"), overrides=[*small, *axes]))


@pytest.mark.parametrize("design", ["synchronised", "phase-agnostic", "isotropic"])
def test_r2_what_is_known_of_phases_shares_a_line(design: str) -> None:
    small = ["arrays.transmit_antennas=3", "arrays.receive_antennas=3", "waveform.subcarriers=4"]
    axes = ["axes.realisation=[0]", f"axes.design=[{design}]", "axes.roles=[both]", "axes.known=[link 0.1 rad, link unknown]"]
    check_line_independence(load_study(study_path("ofdm-synchronisation"), overrides=[*small, *axes]))


def test_r2_the_robust_designs_keep_their_bits_in_any_line() -> None:
    small = ["arrays.antennas=4", "options.draws=200", "axes.realisation=[0, 1]", "axes.sinr_db=[0, 10]"]
    check_line_independence(load_study(study_path("robust-fig5"), overrides=[*small, "axes.echo_snr_db=[-20, -10, 0]"]))


def test_r2_the_echoes_keep_their_bits_in_any_line() -> None:
    small = ["arrays.transmit_antennas=3", "arrays.receive_antennas=3", "waveform.subcarriers=4", "options.trials=5"]
    axes = ["axes.amplitude_db=[-60, -50, -40, -20]", "axes.design=[phase-agnostic]", "axes.realisation=[0]"]
    check_line_independence(load_study(study_path("ofdm-rmse"), overrides=[*small, "options.area_m=30.0", *axes]))
