"""The made-up study that the page of analyses shows: location error of a network, by formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.experiment import STATUS_CODES

AXES = ("sinr_db", "node_count", "bandwidth_hz", "design", "realisation")
DESIGNS = ("phase-agnostic", "orthogonal", "block-level")


def network_cube() -> xr.Dataset:
    """Error falls with nodes and bandwidth and rises with the SINR that users ask for; few nodes do not reach every SINR."""
    rng = np.random.default_rng(2024)
    sinr, nodes, bands = np.arange(0.0, 41.0, 5.0), np.array([2, 3, 4, 6]), np.array([10e6, 20e6, 40e6])
    shape = (9, 4, 3, 3, 8)
    s, n, b, d, _ = np.meshgrid(sinr, nodes, bands, np.arange(3), np.arange(8), indexing="ij")
    draw = rng.normal(0, 0.3, 8)
    noise = rng.normal(0, 0.02, shape)
    noise[..., 2, :] = np.where(s[..., 2, :] < 12, noise[..., 0, :], noise[..., 2, :])
    worse = np.select([d == 1, (d == 2) & (s >= 12)], [1.0 + 0.01 * s, 1.001], default=1.0)
    error = 0.4 * worse * np.exp(draw + noise) * (1 + (s / 30) ** 2) / n * (20e6 / b) ** 0.75
    reached = 22.0 + 3.0 * n + 6.0 * draw
    status = np.where(s <= reached, STATUS_CODES["ok"], STATUS_CODES["infeasible"]).astype(np.uint8)
    data: dict[str, Any] = {
        "status": (AXES, status),
        "rcrb_m": (AXES, np.where(status == STATUS_CODES["ok"], error, np.nan), {"units": "m", "long_name": "location error"}),
    }
    coordinates = {
        "sinr_db": ("sinr_db", sinr, {"units": "dB", "long_name": "SINR target"}),
        "node_count": ("node_count", nodes, {"units": "1", "long_name": "number of nodes"}),
        "bandwidth_hz": ("bandwidth_hz", bands, {"units": "Hz", "long_name": "bandwidth"}),
        "design": ("design", np.array(DESIGNS, dtype=object), {"units": "1", "long_name": "design method"}),
        "realisation": ("realisation", np.arange(8), {"units": "1", "long_name": "channel realisation"}),
    }
    return xr.Dataset(data, coordinates)
