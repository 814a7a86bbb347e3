"""Small cubes for the tests of analyses, and Hypothesis strategies that draw them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.experiment import STATUS_CODES

OK, INFEASIBLE, MISSING = STATUS_CODES["ok"], STATUS_CODES["infeasible"], STATUS_CODES["missing"]
AXES = ("level", "design", "realisation")


def a_cube(values: Any, status: Any = None, **labels: Any) -> xr.Dataset:
    """A cube with the metric ``error_m`` whose axes are the keywords; a text or a range names an axis without units."""
    values = np.asarray(values, dtype=np.float64)
    codes = np.full(values.shape, OK) if status is None else np.asarray(status)
    units = {"level": "dB", "bandwidth_hz": "Hz"}
    coordinates = {
        name: (
            name,
            np.array(list(given), dtype=object if isinstance(given[0], str) else None),
            {"units": units.get(name, "1")},
        )
        for name, given in labels.items()
    }
    axes = tuple(labels)
    data: dict[str, Any] = {
        "status": (axes, codes.astype(np.uint8)),
        "message": (axes, np.full(values.shape, "", dtype=object)),
        "error_m": (axes, values, {"units": "m", "long_name": "error"}),
    }
    return xr.Dataset(data, coordinates)


def random_cubes(
    shape: tuple[int, int, int] = (4, 3, 3), *, low: float = -1e3, high: float = 1e3, codes: tuple[int, ...] = ()
) -> st.SearchStrategy[xr.Dataset]:
    """Cubes over level (numbers in no order), design (texts) and realisation, with any statuses and some values missing."""
    statuses = codes or tuple(sorted(STATUS_CODES.values()))
    numbers = st.one_of(
        st.floats(low, high).map(lambda x: round(x, 6)), st.integers(int(low), int(high)).map(float), st.just(np.nan)
    )
    levels = st.lists(st.integers(-50, 50).map(float), min_size=shape[0], max_size=shape[0], unique=True)
    return st.builds(
        lambda values, status, labels: a_cube(
            values, status, level=labels, design=[f"d{i}" for i in range(shape[1])], realisation=range(shape[2])
        ),
        arrays(np.float64, shape, elements=numbers),
        arrays(np.uint8, shape, elements=st.sampled_from(statuses)),
        levels,
    )
