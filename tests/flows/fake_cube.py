"""Cubes made by formula, with the schema of published ones: what reports, claims and surfaces are tested on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from pipeline.experiment import STATUS_CODES

SINR_DB = (0.0, 10.0, 15.0, 20.0, 25.0, 28.0, 30.0, 32.0, 34.0, 36.0, 38.0, 40.0)
DESIGNS = ("orthogonal", "beamforming", "unconstrained-tight")
FACTOR = {"orthogonal": 1.17, "beamforming": 1.5, "unconstrained-tight": 1.0}
LIMIT_DB = {"orthogonal": 37.0, "beamforming": 36.5, "unconstrained-tight": 39.0}
REPORT = {"x": "sinr_db", "y": "rcrb_m", "colour": "design", "style": "user_count", "log_y": True}
_AXES = ("sinr_db", "user_count", "design", "realisation")


def quick_cube(*, failed: int = 0, missing: int = 0) -> xr.Dataset:
    """A cube like the quick study's: 12 SINRs, 1 and 2 users, 3 designs, 4 realisations.

    The unconstrained design is planned at a few cells of one user. The error grows with SINR and users, the largest
    feasible SINR falls with users, and beams extracted from the beamforming design miss their SINR.

    Parameters
    ----------
    failed, missing
        So many of the orthogonal cells of two users have failed, or are still to do.
    """
    sinr = np.array(SINR_DB).reshape(-1, 1, 1, 1)
    users = np.array([1, 2]).reshape(1, -1, 1, 1)
    factor = np.array([FACTOR[d] for d in DESIGNS]).reshape(1, 1, -1, 1)
    draw = np.arange(4).reshape(1, 1, 1, -1)
    limit = np.array([LIMIT_DB[d] for d in DESIGNS]).reshape(1, 1, -1, 1) - 4.5 * (users - 1) + 0.8 * (draw - 1.5)
    load = 10.0 ** ((sinr - limit) / 10.0)
    rcrb = 1.5e-3 * factor * (1 + 0.08 * (draw - 1.5)) * (1 + 0.04 * (users - 1)) * np.sqrt(1 + 2 * load)
    status = np.where(sinr <= limit, STATUS_CODES["ok"], STATUS_CODES["infeasible"]).astype(np.uint8)
    status[-3, 0, 0, 3] = STATUS_CODES["inaccurate"]
    _mark(status, failed, missing)
    feasible = np.isin(status, (STATUS_CODES["ok"], STATUS_CODES["inaccurate"]))
    beams = np.array([0.0, 0.3, 0.01]).reshape(1, 1, -1, 1)
    gap = 1e-7 * (1 + draw + users + 0 * rcrb)
    values = {
        "rcrb_m": (rcrb, "m", "root CRB of the design's objective"),
        "delivered_rcrb_m": (rcrb * (1 + 0.2 * (beams > 0.1)), "m", "root CRB of the transmitted signal"),
        "extracted_rcrb_m": (rcrb * (1 + beams), "m", "root CRB of the extracted rank-one beams"),
        "extracted_min_sinr_db": (sinr - 20 * (beams > 0.1) + 0 * rcrb, "dB", "least SINR of the extracted beams"),
        "design_gap": (0.1 * beams + 0 * rcrb, "1", "excess of the delivered beams' CRB over the dual bound"),
        "printed_power": (
            np.where(beams == 0.01, 1.5, np.nan) + 0 * rcrb,
            "1",
            "power of the beams by (26)-(29), of the limit",
        ),
        "objective": (rcrb**2, "m2", "value of the objective, squared error"),
        "dual_bound": (rcrb**2 * (1 - gap), "m2", "lower bound of the objective"),
        "relative_gap": (gap, "1", "relative gap between value and bound"),
        "worst_violation": (1e-9 * (1 + draw) + 0 * rcrb, "1", "largest relative violation of a constraint"),
    }
    data: dict[str, Any] = {
        name: (_AXES, np.where(feasible, value, np.nan), {"units": units, "long_name": words, "volatile": 0})
        for name, (value, units, words) in values.items()
    }
    computed = status > STATUS_CODES["not_planned"]
    data["iterations"] = (_AXES, np.where(computed, 12, -1), {"units": "1", "long_name": "solver iterations", "volatile": 0})
    seconds = np.where(computed, 0.4 * np.array([1.0, 1.1, 20.0]).reshape(1, 1, -1, 1), np.nan)
    data["solve_seconds"] = (_AXES, seconds, {"units": "s", "long_name": "wall time of the cell's solves", "volatile": 1})
    coordinates = {
        "sinr_db": ("sinr_db", np.array(SINR_DB), _words("SINR target", "dB", "service.sinr_db")),
        "user_count": ("user_count", np.array([1, 2]), _words("number of users", "1", "layout.user_count")),
        "design": ("design", np.array(DESIGNS, dtype=object), _words("design method", "1", "options.design")),
        "realisation": ("realisation", np.arange(4), _words("channel realisation", "1", "channel.realisation")),
    }
    told = {"study": "quick", "title": "Localisation error against SINR", "paper": "ofdm", "figure": "Fig. 5"}
    return _finished(_AXES, status, data, coordinates, told)


def toy_cube() -> xr.Dataset:
    """A study of another field: one numeric axis, realisations, one variable, no paper, nothing infeasible."""
    axes = ("level", "draw")
    level = np.array([1.0, 2.0, 3.0])
    status = np.full((3, 2), STATUS_CODES["ok"], dtype=np.uint8)
    yields = (axes, level[:, np.newaxis] + np.array([0.0, 0.5]), {"units": "kg", "long_name": "yield", "volatile": 0})
    coordinates = {
        "level": ("level", level, _words("level of the dose", "g", "dose.level_g")),
        "draw": ("draw", np.arange(2), _words("draw", "1", "field.draw")),
    }
    told = {"study": "toy", "title": "A <toy> & its yield", "paper": "", "figure": ""}
    return _finished(axes, status, {"yield_kg": yields}, coordinates, told)


def grid_cube(sizes: dict[str, int], *, variables: int = 1, failed: int = 0) -> xr.Dataset:
    """A cube of any size: axes whose name begins with ``text`` have texts for labels, one cell in nine is infeasible.

    Parameters
    ----------
    sizes
        Values of each axis.
    variables
        How many there are, called ``v0``, ``v1`` ...
    failed
        So many cells have failed.
    """
    axes, shape = tuple(sizes), tuple(sizes.values())
    number = np.arange(int(np.prod(shape, dtype=int)))
    status = np.where(number % 9 == 7, STATUS_CODES["infeasible"], STATUS_CODES["ok"]).astype(np.uint8)
    status[1 : failed + 1] = STATUS_CODES["failed"]
    value = np.where(status == STATUS_CODES["ok"], 1e-3 * (1 + number % 1009), np.nan).reshape(shape)
    about = {"units": "m", "long_name": "quantity", "volatile": 0}
    data: dict[str, Any] = {f"v{i}": (axes, value * (1 + i), about) for i in range(variables)}
    labels: dict[str, Any] = {
        name: (
            name,
            np.array([f"{name} number {i}" for i in range(n)], dtype=object) if name.startswith("text") else np.arange(n),
        )
        for name, n in sizes.items()
    }
    return _finished(axes, status.reshape(shape), data, labels, {"study": "grid", "title": "A grid", "paper": "", "figure": ""})


def _mark(status: np.ndarray[Any, Any], failed: int, missing: int) -> None:
    """Leave the unconstrained design unplanned but for a few cells; let some orthogonal cells fail or stay to do."""
    kept = status[np.ix_([1, 6, 9, 11], [0], [2], [0, 1])].copy()
    status[:, :, 2, :] = STATUS_CODES["not_planned"]
    status[np.ix_([1, 6, 9, 11], [0], [2], [0, 1])] = kept
    status[:failed, 1, 0, 0] = STATUS_CODES["failed"]
    status[:missing, 1, 0, 1] = STATUS_CODES["missing"]


def _words(long_name: str, units: str, path: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units, "path": path}


def _finished(
    axes: tuple[str, ...], status: np.ndarray[Any, Any], data: dict[str, Any], coordinates: dict[str, Any], told: dict[str, str]
) -> xr.Dataset:
    sentences = {"infeasible": "No design reaches the SINR.", "failed": "The solver stopped: <numerical> trouble & no step."}
    message = np.full(status.shape, "", dtype=object)
    for name, sentence in sentences.items():
        message[status == STATUS_CODES[name]] = sentence
    flags = {"flag_values": list(STATUS_CODES.values()), "flag_meanings": " ".join(STATUS_CODES)}
    data = {"status": (axes, status, flags), "message": (axes, message, {"long_name": "message"})} | data
    counts = {name: int((status == code).sum()) for name, code in STATUS_CODES.items()}
    planned = status.size - counts.pop("not_planned")
    present = planned - counts.pop("missing")
    attributes = told | {
        "experiment": "made-by-formula", "scenario": json.dumps({"layout": {"user_count": 1}}), "options": "{}",
        "manifest": json.dumps({"disac.units": "0" * 32}), "environment": json.dumps({"python": "3.12", "numpy": "2.3"}),
        "cube_key": "c" * 32, "code_digest": "d" * 32, "created": "2026-01-01T00:00:00+00:00", "planned": planned,
        "present": present, "disac_version": "0.1.0",
        "cells_by_status": json.dumps({name: count for name, count in counts.items() if count}),
    }  # fmt: skip
    return xr.Dataset(data, coordinates, attributes)
