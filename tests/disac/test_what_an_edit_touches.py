"""An edit changes the digests of the experiments that it concerns, and of no other (rule I2): edited copies, counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import disac
from pipeline.digest import code_digest

pytestmark = pytest.mark.no_cover  # counting lines doubles its time, and finds none that other tests do not run

OFDM = {"ofdm_tradeoff", "ofdm_echoes", "ofdm_theory"}
COHERENT = {"robust_tradeoff", "cross_section"}
DMIMO = {"dmimo_tradeoff"}
EXPERIMENTS = OFDM | COHERENT | DMIMO | {"cross_table"}


def _digests() -> dict[str, str]:
    return {name: code_digest([f"disac.experiments.{name}"]).digest for name in EXPERIMENTS}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the science that is found first, and the digests of its experiments."""
    folder = tmp_path_factory.mktemp("science")
    (source,) = disac.__path__
    shutil.copytree(source, folder / "disac", ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder / "disac", _digests()


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("scenarios/noncoherent.py", OFDM),
        ("scenarios/coherent.py", COHERENT),
        ("scenarios/common.py", {"cross_table"}),
        ("drops/noncoherent.py", OFDM),
        ("drops/coherent.py", COHERENT),
        ("drops/common.py", {"cross_table"}),
        ("designs/location/of_scenario.py", OFDM),
        ("designs/robust/angle_boxes.py", {"robust_tradeoff"}),
        ("designs/cross.py", {"cross_table"}),
        ("designs/cross_evidence.py", {"cross_table"}),
        ("scenarios/dmimo.py", DMIMO),
        ("drops/dmimo.py", DMIMO),
        ("metrics/dmimo_rate.py", DMIMO),
        ("waveforms.py", {"ofdm_echoes"}),
        *((f"experiments/{name}.py", {name}) for name in sorted(EXPERIMENTS)),
        ("experiments/base.py", EXPERIMENTS),
        ("stream_names.py", set()),
        ("checks.py", set()),
        ("scenes/noncoherent.py", set()),
        ("metrics/location_error.py", DMIMO),
        ("scenes/dmimo.py", set()),
        ("metrics/beam_pattern.py", set()),
    ],
)
def test_an_edit_touches_what_it_concerns(copy: tuple[Path, dict[str, str]], file: str, changed: set[str]) -> None:
    folder, before = copy
    edited, text = folder / file, (folder / file).read_text(encoding="utf-8")
    try:
        edited.write_text(f'{text}\n\ndef added() -> str:\n    return "a message"\n', encoding="utf-8")
        after = _digests()
    finally:
        edited.write_text(text, encoding="utf-8")
    assert {name for name in EXPERIMENTS if before[name] != after[name]} == changed
