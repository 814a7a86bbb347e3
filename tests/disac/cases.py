"""Reference cases of an independent implementation (tests/data/noncoherent)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from disac.metrics.fisher import SensingModel

FOLDER = Path(__file__).parent.parent / "data" / "noncoherent"
NAMES = sorted(p.stem for p in FOLDER.glob("case_*.json"))


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def load_prior(name: str) -> dict[str, Any]:
    """A case of the synchronisation study (tests/data/syncprior), under the names of the others."""
    case = json.loads((FOLDER.parent / "syncprior" / f"{name}.json").read_text())
    return case | {"b": case["b_rx_tx_k"], "h": case["h_n_u_l_m"], "PT": case["PT_per_antenna"]}


def array(part: dict[str, Any]) -> np.ndarray:
    return np.array(part["re"]) + 1j * np.array(part["im"])


def sensing_model(case: dict[str, Any]) -> SensingModel:
    return SensingModel(
        nodes_m=np.array(case["nodes"]), targets_m=np.array(case["targets"]), amplitudes=array(case["b"]),
        transmit_antennas=case["Mt"], receive_antennas=case["Mr"], subcarriers=case["L"], bandwidth_hz=case["B"],
        noise_power=case["sigma_s2"], orientation=case["orient"],
    )  # fmt: skip


def given_covariances(case: dict[str, Any]) -> np.ndarray:
    factor = array(case["test_cov_factor"])
    return factor @ factor.conj().swapaxes(-1, -2)
