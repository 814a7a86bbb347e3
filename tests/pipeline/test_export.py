"""Exports read back by readers that are not ours."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.io import loadmat, netcdf_file

from flows.derive import load_published
from pipeline.cube import publish_cube
from pipeline.errors import UsageError
from pipeline.export import tables_of, write_tables
from pipeline.layout import cube_folder
from pipeline.plan import make_plan
from pipeline.store import LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

Write = Callable[..., Path]
PROVENANCE = {"study": "toy-study", "cube_key": "abc"}


@pytest.fixture
def cube(study_file: Write, tmp_path: Path) -> xr.Dataset:
    """A failure, an infeasible level, a cell that no grid plans, a padded dimension, complex numbers and texts."""
    file = study_file(
        ('"0:40:10"', "[0, 13, 30]"), ("surfaces:", "  - axes:\n      level: {path: signal.level_db, values: [25]}\nsurfaces:")
    )
    store = LocalStore(tmp_path / "results")
    with ThreadPoolExecutor(2) as pool:
        Sweep(make_plan(load_study(file), store), store, pool, lambda: 2).run()
    publish_cube(make_plan(load_study(file), store), store)
    return load_published(store, cube_folder("toy-study"))


def expected(cube: xr.Dataset) -> list[dict[str, object]]:
    """The rows of the main table by a plain loop."""
    rows = []
    for level in cube["level"].values:
        for count in cube["count"].values:
            for realisation in cube["realisation"].values:
                cell = cube.sel(level=level, count=count, realisation=realisation)
                if int(cell["status"]) != 1:
                    rows.append({
                        "level": float(level), "count": int(count), "realisation": int(realisation),
                        "status": {2: "ok", 4: "infeasible", 5: "failed"}[int(cell["status"])],
                        "error_m": float(cell["error_m"]), "steps": int(cell["steps"]), "note": str(cell["note"].values),
                        "gain_real": float(cell["gain"].values.real), "gain_imag": float(cell["gain"].values.imag),
                    })  # fmt: skip
    return rows


def same(a: object, b: object) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b))


def test_tables_have_a_row_per_planned_cell_and_long_form_without_padding(cube: xr.Dataset) -> None:
    cells, taps = tables_of(cube)
    assert (cells.name, taps.name) == ("cells", "by_tap")
    rows = expected(cube)
    assert {len(column) for column in cells.columns.values()} == {len(rows)} == {19}
    assert cells.units["error_m"] == "m"
    feasible = [r for r in rows if r["status"] == "ok"]
    assert len(taps.columns["profile"]) == sum(int(r["count"]) for r in feasible)  # type: ignore[call-overload]
    np.testing.assert_array_equal(taps.columns["profile"], taps.columns["tap"].astype(float))


def test_csv_is_read_back_by_the_csv_module(cube: xr.Dataset, tmp_path: Path) -> None:
    written = write_tables(tables_of(cube), tmp_path / "out" / "a.csv", PROVENANCE)
    assert [p.name for p in written] == ["a.csv", "a-by_tap.csv"]
    with written[0].open(newline="") as stream:
        found = list(csv.DictReader(stream))
    for row, want in zip(found, expected(cube), strict=True):
        for name, value in want.items():
            read = row[name] if isinstance(value, str) else type(value)(row[name])  # type: ignore[call-arg]
            assert same(read, value), name
    sidecar = json.loads((tmp_path / "out" / "a.csv.json").read_text())
    assert sidecar["units"]["error_m"] == "m"
    assert sidecar["provenance"] == PROVENANCE


def test_parquet_is_read_back_by_arrow(cube: xr.Dataset, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'disac[parquet]'")
    (file, _) = write_tables(tables_of(cube), tmp_path / "a.parquet", PROVENANCE)
    table = pq.read_table(file)
    for row, want in zip(table.to_pylist(), expected(cube), strict=True):
        for name, value in want.items():
            assert same(row[name], value), name
    assert table.schema.field("error_m").metadata[b"units"] == b"m"
    assert table.schema.metadata[b"cube_key"] == b"abc"


def test_netcdf_is_read_back_by_scipy_and_by_xarray(cube: xr.Dataset, tmp_path: Path) -> None:
    (file, _) = write_tables(tables_of(cube), tmp_path / "a.nc", PROVENANCE)
    rows = expected(cube)
    with netcdf_file(file, "r", mmap=False) as stored:
        assert stored.cube_key == b"abc"
        assert stored.variables["error_m"].units == b"m"
        np.testing.assert_array_equal(stored.variables["error_m"][:], [r["error_m"] for r in rows])
        words = [b"".join(letters).decode() for letters in stored.variables["status"][:]]
    assert words == [r["status"] for r in rows]
    with xr.open_dataset(file, engine="scipy") as opened:
        np.testing.assert_array_equal(opened["gain_imag"].values, [r["gain_imag"] for r in rows])


def test_matlab_file_is_read_back_by_scipy(cube: xr.Dataset, tmp_path: Path) -> None:
    (file,) = write_tables(tables_of(cube), tmp_path / "a.mat", PROVENANCE)
    found = loadmat(file, simplify_cells=True)
    rows = expected(cube)
    np.testing.assert_array_equal(found["cells"]["error_m"], [r["error_m"] for r in rows])
    assert list(found["cells"]["status"]) == [r["status"] for r in rows]
    assert found["cells"]["units"]["error_m"] == "m"
    assert found["provenance"]["cube_key"] == "abc"
    np.testing.assert_array_equal(found["by_tap"]["profile"], found["by_tap"]["tap"])


OCTAVE = """\
d = load('a.mat');
printf('%d\\n', numel(d.cells.error_m));
printf('%.17g\\n', d.cells.error_m);
printf('%s\\n', d.cells.status{:});
printf('%s %s\\n', d.cells.units.error_m, d.provenance.cube_key);
printf('%.17g\\n', sum(d.by_tap.profile));
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_matlab_file_is_read_back_by_octave(cube: xr.Dataset, tmp_path: Path) -> None:
    octave()
    write_tables(tables_of(cube), tmp_path / "a.mat", PROVENANCE)
    (tmp_path / "read.m").write_text(OCTAVE)
    done = subprocess.run(
        ["octave-cli", "--no-gui", "--norc", "--quiet", "read.m"], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, rows = done.stdout.split("\n"), expected(cube)
    assert int(said[0]) == len(rows)
    assert all(same(float(a), r["error_m"]) for a, r in zip(said[1 : len(rows) + 1], rows, strict=True))
    assert said[len(rows) + 1 : 2 * len(rows) + 1] == [r["status"] for r in rows]
    assert said[2 * len(rows) + 1] == "m abc"
    assert float(said[2 * len(rows) + 2]) == float(tables_of(cube)[1].columns["profile"].sum())


def octave() -> None:
    """Install Octave unless it is there; skip with the reason where that cannot be."""
    if shutil.which("octave-cli"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("Octave is not installed, and installing it needs root and apt-get")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", "octave"]
    for attempt in (["true"], ["apt-get", "update"]):
        subprocess.run(attempt, env=environment, capture_output=True, timeout=200, check=False)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode == 0:
            return
    pytest.skip(f"Octave cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


def test_an_unknown_ending_is_refused(cube: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tables are written as \.csv, \.parquet, \.nc, \.mat"):
        write_tables(tables_of(cube), tmp_path / "a.xlsx", PROVENANCE)
