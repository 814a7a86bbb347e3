"""``disac design``: inputs of every kind give one design; what is wrong with an input is said by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.io import loadmat, savemat
from typer.testing import CliRunner

from disac.designs.location.design import Designer
from disac.designs.location.given import VARIABLES, example, problem_of
from flows.cli import app
from pipeline.errors import UsageError

RANKS = {v.name: len(v.dims) for v in VARIABLES}
VARIABLE_DIMS = {v.name: v.dims for v in VARIABLES}
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(**changed: Any) -> Path:
        arrays = {name: value for name, value in (example() | changed).items() if value is not None}
        np.savez(tmp_path / "in.npz", **arrays)
        return tmp_path / "in.npz"

    return write


def run(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["design", *map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*words: object) -> str:
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(app, ["design", *map(str, words)], catch_exceptions=False, standalone_mode=False)
    return str(caught.value)


def matlab_73(file: Path, arrays: dict[str, Any]) -> None:
    """As MATLAB writes: dimensions reversed, complex numbers as pairs, scalars as matrices, 512 bytes of its own in front."""
    with h5py.File(file, "w", userblock_size=512) as content:
        for name, value in arrays.items():
            matrix = np.atleast_2d(np.asarray(value)).T if np.ndim(value) < 2 else np.asarray(value).T
            if matrix.dtype.kind == "c":
                pairs = np.empty(matrix.shape, dtype=[("real", "<f8"), ("imag", "<f8")])
                pairs["real"], pairs["imag"] = matrix.real, matrix.imag
                matrix = pairs
            content[name] = matrix
        content["note"] = h5py.Empty("f")


def test_every_kind_of_file_gives_the_same_design(tmp_path: Path) -> None:
    values = {}
    for kind in ("npz", "mat", "zarr"):
        template = tmp_path / f"in.{kind}"
        assert CliRunner().invoke(app, ["design", "--template", str(template)]).exit_code == 0
        values[kind] = run(template, "--sinr-db", 25)["rcrb_m"]
    savemat(tmp_path / "old.mat", {k: np.squeeze(v) if k == "amplitude" else v for k, v in example().items()}, format="5")
    savemat(tmp_path / "small.mat", example(), do_compression=True)
    matlab_73(tmp_path / "new.mat", example())
    values |= {name: run(tmp_path / f"{name}.mat", "--sinr-db", 25)["rcrb_m"] for name in ("old", "small", "new")}
    expected = np.sqrt(Designer(problem_of(example()), "phase-agnostic").design(10**2.5).certificate.value)
    assert all(value == pytest.approx(expected, rel=1e-12) for value in values.values()), values


def test_output_is_labelled_and_certified_again_from_itself(save: Save, tmp_path: Path) -> None:
    file = save()
    outputs = [tmp_path / f"out.{kind}" for kind in ("zarr", "mat", "npz")]
    summary = run(file, "--sinr-db", 20, *(word for out in outputs for word in ("-o", out)))
    assert summary["status"] == "ok"
    assert summary["design_gap"] < 2e-7
    with xr.open_zarr(outputs[0], consolidated=False) as stored:
        data = stored.load()
    assert data["beam"].dims == ("user", "subcarrier", "antenna")
    assert data["transmit_covariance"].attrs["units"] == "W"
    assert data.attrs["rcrb_m"] == summary["rcrb_m"]
    problem = problem_of(example())
    sent = data["transmit_covariance"].values
    rank_one = np.einsum("uli,ulj->ulij", data["beam"].values, data["beam"].values.conj())
    assert problem.power_share(sent) <= 1 + 1e-6
    assert problem.sinr(rank_one, sent).min() >= 100 * (1 - 1e-6)
    designer = Designer(problem, "phase-agnostic")
    duals = (data[f"{name}_dual"].values for name in ("power", "sinr", "fisher"))
    assert designer.dual_bound(100.0, *duals) == pytest.approx(summary["dual_bound_m2"], rel=1e-9)
    assert np.sqrt(designer.crb_m2(sent)) == pytest.approx(summary["delivered_rcrb_m"], rel=1e-12)
    np.testing.assert_array_equal(loadmat(outputs[1])["beam"], data["beam"].values)
    with np.load(outputs[2]) as arrays:
        np.testing.assert_array_equal(arrays["beam"], data["beam"].values)
    assert "already exists" in refused(file, "-o", outputs[0])


def test_units_do_not_matter(save: Save) -> None:
    """Powers and noises of a real network, 13 decades smaller."""
    small = {name: example()[name] * 1e-13 for name in ("per_antenna_power_w", "user_noise_w", "echo_noise_w")}
    assert run(save(**small))["rcrb_m"] == pytest.approx(run(save())["rcrb_m"], rel=1e-6)


@pytest.mark.parametrize(("design", "extra"), [
    ("orthogonal", {}), ("beamforming", {}), ("unconstrained-tight", {}), ("unconstrained", {}),
    ("coherent", {"carrier_hz": 3.5e9}),
    ("synchronised", {"carrier_hz": 3.5e9, "link_phase_std_rad": 0.1, "phase_std_rad": 0.1, "clock_std_s": 1e-10}),
])  # fmt: skip
def test_every_design_takes_own_channels(save: Save, design: str, extra: dict[str, float]) -> None:
    summary = run(save(**extra), "--design", design, "--sinr-db", 15)
    assert summary["status"] == "ok"
    assert summary["relative_gap"] < 1e-6


def test_orientation_turns_the_arrays(save: Save) -> None:
    nodes = example()["node_position_m"]
    towards = np.arctan2(-nodes[:, 1], -nodes[:, 0])
    assert run(save(orientation_rad=towards))["rcrb_m"] == pytest.approx(run(save())["rcrb_m"], rel=1e-9)
    assert run(save(orientation_rad=towards + 0.5))["rcrb_m"] != pytest.approx(run(save())["rcrb_m"], rel=1e-3)


def test_infeasible_ends_with_its_proof(save: Save, tmp_path: Path) -> None:
    summary = run(save(), "--sinr-db", 70, "-o", tmp_path / "ray.npz")
    assert summary["status"] == "infeasible"
    assert "dual certificate checked" in summary["message"]
    with np.load(tmp_path / "ray.npz") as ray:
        assert Designer(problem_of(example()), "phase-agnostic").least_power(1e7, ray["power_dual"], ray["sinr_dual"]) > 1


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"h": example()["h"][..., 0]}, "h has the shape (2, 1, 8); expected (node, user, subcarrier, tx)"),
    ({"amplitude": np.ones((3, 2, 1))}, "amplitude has the shape (3, 2, 1): 3 along 'node', but h (axis 0) has 2"),
    ({"h": np.where(np.arange(4) == 2, np.nan, example()["h"])}, "h[0, 0, 0, 2] is (nan+0j); expected finite numbers"),
    ({"user_noise_w": 0.0}, "user_noise_w is 0; expected a positive number (W)"),
    ({"echo_noise_w": -1.0}, "echo_noise_w is -1; expected a positive number (W)"),
    ({"bandwidth_hz": None}, "variable 'bandwidth_hz' is missing: signal bandwidth B, shape a single number, unit Hz"),
    ({"bandwidth_hz": None, "bandwith_hz": 2e7}, "unknown variable 'bandwith_hz'; did you mean 'bandwidth_hz'?"),
    ({"receive_antennas": 2.5}, "receive_antennas is 2.5; expected a whole number"),
    ({"node_position_m": np.ones((2, 3))}, "node_position_m has the shape (2, 3): 3 along 'xy', but every position has 2"),
    ({"target_position_m": example()["node_position_m"][:1]}, "target_position_m has a target on a node"),
    ({"bandwidth_hz": 1j}, "bandwidth_hz is complex; expected real numbers"),
    ({"h": np.array([["x"]])}, "h holds <U1; expected numbers"),
])  # fmt: skip
def test_what_is_wrong_is_said_by_name(save: Save, changed: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(save(**changed))


def test_wrong_words(save: Save, tmp_path: Path) -> None:
    file = save()
    assert "did you mean 'synchronised'?" in refused(file, "--design", "synchronized")
    assert "'carrier_hz' is missing" in refused(file, "--design", "synchronised")
    assert "does not exist" in refused(tmp_path / "none.npz")
    assert "give INPUT" in refused()
    assert "expected the ending .zarr, .mat or .npz" in refused(file, "-o", tmp_path / "out.txt")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not an archive")
    assert "cannot be read" in refused(tmp_path / "broken.npz")
    (tmp_path / "broken.mat").write_bytes(b"nothing")
    assert "cannot be read" in refused(tmp_path / "broken.mat")
    alone = save(node_position_m=np.array([[-46.0, -19.0]]), h=example()["h"][:1], amplitude=np.ones((1, 1, 1)))
    assert "cannot be located" in refused(alone, "--localization", "tof")
    assert "has no covariances to share" in refused(save(), "--design", "orthogonal", "--clusters", "2")


def test_a_user_whom_no_node_reaches_is_named_with_a_proof(save: Save, tmp_path: Path) -> None:
    blocked = np.concatenate([example()["h"]] * 3, axis=1)
    blocked[:, 1] = 0.0
    blocked[:, 2, 4] = 0.0
    summary = run(save(h=blocked), "-o", tmp_path / "ray.npz", "--sinr-db", 3)
    assert summary["status"] == "infeasible"
    assert "user 1 hears no node that may serve it on every subcarrier (so do 1 more)" in summary["message"]
    problem = problem_of(example() | {"h": blocked})
    with np.load(tmp_path / "ray.npz") as ray:
        proof = ray["power_dual"], ray["sinr_dual"]
    assert Designer(problem, "phase-agnostic").least_power(2.0, *proof) > 1.0
    heard = problem_of(example() | {"h": np.concatenate([example()["h"]] * 3, axis=1)})
    assert Designer(heard, "phase-agnostic").least_power(2.0, *proof) <= 1.0, "the proof fails where the users hear the nodes"


def test_the_order_of_axes_is_declared_or_read(save: Save, tmp_path: Path) -> None:
    plain = run(save())
    turned = example()["h"].transpose(0, 1, 3, 2)
    assert run(save(h=turned), "--order", "h=node,user,tx,subcarrier") == plain | {"seconds": ANY}
    dims = ("node", "user", "tx", "subcarrier")
    arrays = {
        name: (dims if name == "h" else VARIABLE_DIMS[name], value) for name, value in (example() | {"h": turned}).items()
    }
    xr.Dataset(arrays).to_zarr(tmp_path / "in.zarr", zarr_format=3, consolidated=False)
    assert run(tmp_path / "in.zarr") == plain | {"seconds": ANY}
    told = refused(save(h=turned, subcarriers=np.array(8), transmit_antennas=np.array(4)))
    assert "subcarriers is 8, but h has 4 along 'subcarrier': are its axes in another order?" in told
    assert "does not name each of node, user, subcarrier, tx once" in refused(save(), "--order", "h=node,user,tx")
    assert "an order is given for 'hh'" in refused(save(), "--order", "hh=node")
    assert "expected NAME=DIMENSION" in refused(save(), "--order", "h")


def test_an_array_that_nothing_uses_is_told_with_what_may_be_meant(save: Save) -> None:
    file = save(frequency=np.array(3.5e9), remark=np.array(1.0))
    result = CliRunner().invoke(app, ["design", str(file), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "variable 'frequency' is not used; did you mean 'carrier_hz'?" in result.stderr
    assert "variable 'remark' is not used\n" in result.stderr


def test_one_subcarrier_is_enough_for_designs_that_share_it(save: Save) -> None:
    one = save(h=example()["h"][:, :, :1])
    assert run(one, "--sinr-db", 5)["status"] == "ok"
    assert "1 are too few for 2 nodes" in refused(one, "--design", "orthogonal")
