"""A design problem from arrays of a user: the expected arrays, and the checks of their contents.

Every name, shape and unit is in :data:`VARIABLES`; ``docs/own-channels.md`` shows the same as a table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.problem import DesignProblem, unposed
from disac.metrics.fisher import Localization, SensingModel
from disac.metrics.sinr import SinrType
from disac.metrics.synchronisation import Synchronisation
from disac.power_limits import PowerLimitName
from disac.power_limits import power_limit as limit_named


@dataclass(frozen=True)
class GivenVariable:
    """One array of the input."""

    name: str
    dims: tuple[str, ...]
    unit: str
    meaning: str
    kind: Literal["complex", "real", "positive", "nonnegative", "count"] = "real"
    required: bool = True


VARIABLES = (
    GivenVariable("h", ("node", "user", "subcarrier", "tx"), "1", "channel h_{n,u,l}: a user receives h^H x", "complex"),
    GivenVariable(
        "amplitude", ("node", "node_tx", "target"), "1", "bistatic amplitude b: receiver, transmitter, target", "complex"
    ),
    GivenVariable("node_position_m", ("node", "xy"), "m", "positions of the nodes"),
    GivenVariable("target_position_m", ("target", "xy"), "m", "positions of the targets"),
    GivenVariable(
        "orientation_rad", ("node",), "rad", "bearing of each array's boresight; towards the origin if left out", required=False
    ),
    GivenVariable("bandwidth_hz", (), "Hz", "signal bandwidth B", "positive"),
    GivenVariable("receive_antennas", (), "1", "receive antennas per node M_r", "count"),
    GivenVariable("per_antenna_power_w", (), "W", "power limit P_T of each antenna, summed over subcarriers", "positive"),
    GivenVariable("user_noise_w", (), "W", "noise of each user, summed over subcarriers, sigma_c^2", "positive"),
    GivenVariable("echo_noise_w", (), "W", "noise of each receive antenna, summed over subcarriers, sigma_s^2", "positive"),
    GivenVariable("subcarriers", (), "1", "number of subcarriers, to check h against", "count", False),
    GivenVariable("transmit_antennas", (), "1", "transmit antennas per node, to check h against", "count", False),
    GivenVariable("carrier_hz", (), "Hz", "carrier frequency; for the designs that know phases", "positive", False),
    GivenVariable("clock_std_s", (), "s", "clock offset of each node", "nonnegative", False),
    GivenVariable("phase_std_rad", (), "rad", "oscillator phase of each node; unknown if left out", "nonnegative", False),
    GivenVariable("link_phase_std_rad", (), "rad", "phase of each link; unknown if left out", "nonnegative", False),
)  # fmt: skip


def problem_of(
    arrays: Mapping[str, Any], design: str = "phase-agnostic", localization: Localization = "hybrid",
    power_limit: PowerLimitName = "per-antenna", sinr_type: SinrType = "noncoherent",
) -> DesignProblem:  # fmt: skip
    """Check the arrays and make the problem.

    Parameters
    ----------
    arrays
        Arrays by name, as in :data:`VARIABLES`; powers and noises in one unit. Other names are ignored. A name that looks like
        a misspelt one of a missing array is an error.
    design
        Name of the design. ``synchronised`` and ``coherent`` use the carrier; ``synchronised`` also uses the deviations.

    Raises
    ------
    ValueError
        If an array is missing, misspelt, not finite, out of range, or has a shape that differs from the others' dimensions.
        The message names the array.
    """
    known = {v.name: v for v in VARIABLES}
    for name in arrays:
        near = difflib.get_close_matches(name, known, 1, 0.75)
        if name not in known and near and near[0] not in arrays:
            raise ValueError(f"unknown variable '{name}'; did you mean '{near[0]}'? (known: {', '.join(known)})")
    missing = [v.name for v in VARIABLES if v.required and v.name not in arrays]
    if missing:
        needed = known[missing[0]]
        raise ValueError(
            f"variable '{missing[0]}' is missing: {needed.meaning}, shape {_shape(needed.dims)}, unit {needed.unit}"
        )
    sizes: dict[str, tuple[int, str]] = {"xy": (2, "every position")}
    clean = {name: _checked(known[name], np.asarray(arrays[name]), sizes) for name in known if name in arrays}
    for target in clean["target_position_m"]:
        if (clean["node_position_m"] == target).all(axis=1).any():
            raise ValueError(f"target_position_m has a target on a node, at {target.tolist()}: its angle there is undefined")
    nodes, _, subcarriers, transmit = clean["h"].shape
    for name, dim, counted in (("subcarriers", "subcarrier", subcarriers), ("transmit_antennas", "tx", transmit)):
        if name in clean and int(clean[name]) != counted:
            raise ValueError(f"{name} is {int(clean[name])}, but h has {counted} along '{dim}': are its axes in another order?")
    if sentence := unposed(design, nodes, subcarriers):
        raise ValueError(sentence)
    orientation: Any = tuple(map(float, clean["orientation_rad"])) if "orientation_rad" in clean else "origin"
    sensing = SensingModel(
        clean["node_position_m"], clean["target_position_m"], clean["amplitude"], transmit, int(clean["receive_antennas"]),
        subcarriers, float(clean["bandwidth_hz"]), float(clean["echo_noise_w"]), orientation,
        synchronisation=_synchronisation(clean, design),
    )  # fmt: skip
    power, noise = float(clean["per_antenna_power_w"]), float(clean["user_noise_w"])
    return DesignProblem(sensing, clean["h"], power, noise, localization, limit_named(power_limit), sinr_type)


_OTHER_NAMES = {
    "frequency": "carrier_hz", "frequency_hz": "carrier_hz", "fc": "carrier_hz", "carrier": "carrier_hz", "channel": "h",
    "channels": "h", "csi": "h", "bandwidth": "bandwidth_hz", "positions": "node_position_m", "nodes": "node_position_m",
    "targets": "target_position_m", "power": "per_antenna_power_w", "noise": "user_noise_w", "orientation": "orientation_rad",
}  # fmt: skip
"""Other names in use for the variables."""


def unused(arrays: Mapping[str, Any]) -> list[str]:
    """Sentences on arrays that no design uses, each with the name that may be meant."""
    known = [variable.name for variable in VARIABLES]
    sentences = []
    for name in sorted(set(arrays) - set(known)):
        near = difflib.get_close_matches(name.lower(), [*known, *_OTHER_NAMES], 1, 0.6)
        meant = _OTHER_NAMES.get(near[0], near[0]) if near else ""
        hint = f"; did you mean '{meant}'?" if meant and meant not in arrays else ""
        sentences.append(f"variable '{name}' is not used{hint}")
    return sentences


def in_order(arrays: Mapping[str, Any], orders: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the arrays with their axes in the order of :data:`VARIABLES`.

    Parameters
    ----------
    orders
        Names of the axes in the present order, for the arrays to be reordered.

    Raises
    ------
    ValueError
        If an order belongs to no array, or does not name each dimension of its array once.
    """
    turned, known = dict(arrays), {variable.name: variable for variable in VARIABLES}
    for name, order in orders.items():
        if name not in known or name not in arrays:
            raise ValueError(f"an order is given for '{name}', which is no variable of the input")
        dims = known[name].dims
        if sorted(order) != sorted(dims):
            raise ValueError(f"{name}: the order {', '.join(order)} does not name each of {', '.join(dims)} once")
        value = np.asarray(arrays[name])
        if value.ndim != len(dims):
            raise ValueError(f"{name} has the shape {value.shape}; the order names {len(dims)} dimensions")
        turned[name] = value.transpose([order.index(dim) for dim in dims])
    return turned


def _synchronisation(clean: Mapping[str, NDArray[Any]], design: str) -> Synchronisation | None:
    if design not in ("synchronised", "coherent"):
        return None
    if "carrier_hz" not in clean:
        raise ValueError(f"variable 'carrier_hz' is missing: the design '{design}' uses the phases that are known")
    carrier = float(clean["carrier_hz"])
    if design == "coherent":
        return Synchronisation(phase_std_rad=0.0, link_phase_std_rad=0.0, carrier_hz=carrier)
    clock, phase, link = (
        float(clean.get(name, np.array(default)))
        for name, default in (("clock_std_s", 0.0), ("phase_std_rad", np.inf), ("link_phase_std_rad", np.inf))
    )
    return Synchronisation(clock, phase, link, carrier_hz=carrier)


def _shape(dims: tuple[str, ...]) -> str:
    return f"({', '.join(dims)})" if dims else "a single number"


def _checked(variable: GivenVariable, value: NDArray[Any], sizes: dict[str, tuple[int, str]]) -> NDArray[Any]:
    """Return the array as complex128 or float64, after a check of its shape against the arrays checked before."""
    name = variable.name
    if value.dtype.kind not in "biufc":
        raise ValueError(f"{name} holds {value.dtype}; expected numbers")
    if variable.kind != "complex" and value.dtype.kind == "c":
        raise ValueError(f"{name} is complex; expected real numbers")
    if value.ndim != len(variable.dims):
        if not variable.dims and value.size == 1:
            value = value.reshape(())
        else:
            raise ValueError(f"{name} has the shape {value.shape}; expected {_shape(variable.dims)}")
    for axis, (dim, size) in enumerate(zip(variable.dims, value.shape, strict=True)):
        if size == 0:
            raise ValueError(f"{name} has the shape {value.shape}; '{dim}' must not be empty")
        like = "node" if dim == "node_tx" else dim
        expected, source = sizes.setdefault(like, (size, f"{name} (axis {axis})"))
        if size != expected:
            raise ValueError(f"{name} has the shape {value.shape}: {size} along '{dim}', but {source} has {expected}")
    clean = value.astype(np.complex128 if variable.kind == "complex" else np.float64)
    if not np.isfinite(clean).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(clean))[0])
        raise ValueError(f"{name}{list(place) if place else ''} is {clean[place]}; expected finite numbers")
    if variable.kind in ("positive", "count") and (clean <= 0).any():
        raise ValueError(f"{name} is {float(clean.min()):g}; expected a positive number ({variable.unit})")
    if variable.kind == "nonnegative" and (clean < 0).any():
        raise ValueError(f"{name} is {float(clean.min()):g}; expected a number that is not negative ({variable.unit})")
    if variable.kind == "count" and (clean != np.round(clean)).any():
        raise ValueError(f"{name} is {float(clean):g}; expected a whole number")
    return clean


def example() -> dict[str, Any]:
    """Return a small valid input: two nodes, one user, one target, in the units of 002, section V."""
    random = np.random.default_rng(1)
    shape = (2, 1, 8, 4)
    return {
        "h": (random.standard_normal(shape) + 1j * random.standard_normal(shape)) / np.sqrt(2.0),
        "amplitude": np.sqrt(10.0) * np.exp(2j * np.pi * random.random((2, 2, 1))),
        "node_position_m": np.array([[-46.19, -19.13], [46.19, -19.13]]), "target_position_m": np.array([[3.0, 7.0]]),
        "bandwidth_hz": np.array(20e6), "receive_antennas": np.array(4), "per_antenna_power_w": np.array(1.0),
        "user_noise_w": np.array(0.01), "echo_noise_w": np.array(0.01),
    }  # fmt: skip
