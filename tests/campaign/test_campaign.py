"""The fault campaign: seeded trials with real kills, and positive controls that it must notice (rules W2, S2, S4, C4)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from engine import BrokenFolder, Folder, ForgetfulFolder, Spec, Tally, trial, undisturbed

from pipeline.study import load_study

# Processes that are killed hand on no count of lines: counting would cost time and give nothing.
pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="needs fork"), pytest.mark.no_cover]

Write = Callable[..., Path]
KINDS = {"point", "sigkill", "two", "damage", "edited"}


def campaign(file: Path, folder: Path, seeds: range, store: type[Folder] = Folder, *, to_first_wrong: bool = False) -> Tally:
    study = load_study(file)
    reference = undisturbed(study, folder / "reference")
    tally = Tally()
    for seed in seeds:
        root = folder / f"trial-{seed}"
        trial(Spec.draw(seed), study, root, reference, tally, store)
        shutil.rmtree(root, ignore_errors=True)
        if to_first_wrong and tally.wrong:
            break
    return tally


@pytest.mark.parametrize("seeds", [
    pytest.param(range(8), id="slice"),
    pytest.param(range(24), id="two dozen", marks=pytest.mark.slow),
    pytest.param(range(1000, 2000), id="thousand", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
])  # fmt: skip
def test_w2_nothing_is_lost_half_visible_or_computed_twice_whatever_is_killed(
    study_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: range
) -> None:
    tally = campaign(study_file(), tmp_path, seeds)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.wrong == 0, tally.first_wrong
    assert tally.kills > 0.3 * len(seeds)
    assert tally.finished_before_kill > 0
    assert {kind.split(",")[0] for kind in tally.kinds} == KINDS


@pytest.mark.parametrize("broken", [BrokenFolder, ForgetfulFolder])
def test_the_campaign_notices_a_store_that_writes_in_the_wrong_order(
    study_file: Write, tmp_path: Path, broken: type[Folder]
) -> None:
    tally = campaign(study_file(), tmp_path, range(12), broken, to_first_wrong=True)
    assert tally.wrong > 0
