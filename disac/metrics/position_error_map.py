"""Closed-form bounds on the position error of one target, over points and over all divisions of a network (004, (10), (13)).

Some access points transmit, one after another and alike in all directions; others receive. The echo of pair (t, r) at antennas
(n, m) and frequency nu has the phase ``psi = phi - (k0 + nu) (d_t + d_r) + n kappa_r + m kappa_t``, and its power falls with
``1 / (d_t d_r)^2``. With the mean gradient ``g = -k0 grad d + (N-1)/2 grad kappa`` of an access point, its scatter over the
antennas ``Lambda = (N^2-1)/12 grad kappa grad kappa^T`` and its weight ``w = 1/d^2``, the information is

    J_coh = C [W_R (S_T + Lambda_T) + W_T (S_R + Lambda_R)],    J_nc = C [W_R Lambda_T + W_T Lambda_R],

with ``W_T = sum_T w``, ``Lambda_T = sum_T w Lambda``, and ``S_T`` the scatter of g about its weighted mean. A band adds the
spread of the frequencies times the second moment of ``grad (d_t + d_r)``; a structured amplitude ``A / (d_t d_r)`` adds the
scatter of its logarithm's gradient. So each access point counts with a few numbers, whatever its role, and every division is a
sum of them. The form holds where the signals of the transmitters are orthogonal, each with a covariance that is a multiple of
the identity; :class:`disac.metrics.fisher.SensingModel` has no such condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from disac.metrics.access_point_terms import ARRAYS, AccessPoints, Amplitudes, Phases, Terms, information

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

UNSEEN = 1e-12
"""Determinant over squared trace below which the information locates nothing (as rounding cannot tell it from zero)."""

_CELLS = 8192
"""Numbers of an array that a step for many divisions works on: a dozen such arrays fit into a core's cache."""

_RUN, _STEP, _TOGETHER = 16384, 8192, 6
"""Points of which a map of one division has the sums at a time; points and access points of which it has the terms."""


def pair_snr_m4(energy: ArrayLike, wavelength_m: float, antennas: int, cross_section_m2: float, noise_power: float) -> Float:
    """Signal-to-noise ratio of a pair after integration, times ``(d_t d_r)^2`` (radar equation), m^4.

    Parameters
    ----------
    energy
        What one transmitter spends on sensing: power times slots, ``L0 (1 - rho) P_t``, all antennas together, W.
    noise_power
        Of one receive antenna in one slot, W.
    """
    gain = wavelength_m**2 * cross_section_m2 / (4.0 * np.pi) ** 3
    return np.asarray(energy, dtype=np.float64) * gain * antennas / noise_power


def split_information(
    network: AccessPoints,
    points_m: Float,
    transmitters: Flags,
    snr_m4: ArrayLike,
    *,
    receivers: Flags | None = None,
    phases: Phases = "coherent",
    amplitudes: Amplitudes = "sign-free",
) -> Float:
    """Information on the position of one target at each point, for each division of the access points.

    The bound with amplitudes that may not be negative is that of sign-free ones: a constraint that is not active changes no
    bound, only which lobes are possible (:mod:`disac.metrics.lobe_probability`).

    Parameters
    ----------
    points_m
        Positions of the target, [P, 2], m; none of them at an access point.
    transmitters
        Who transmits, [S, A].
    snr_m4
        Of a pair (:func:`pair_snr_m4`): a number, one for each division [S, 1], or one for each transmitter [A] or [S, A].
    receivers
        Who receives, [S, A]; None for all who do not transmit.
    phases
        ``coherent``: one unknown phase of the target. ``noncoherent``: an unknown phase of each pair.
    amplitudes
        ``sign-free`` or ``nonnegative``: an unknown magnitude of each pair. ``structured``: one of the target, times
        ``1 / (d_t d_r)``.

    Returns
    -------
    float64, shape [3, S, P], 1/m^2
        ``J_xx``, ``J_yy`` and ``J_xy``.
    """
    found = np.empty((3, len(transmitters), len(points_m)))
    for splits, places, block in _blocks(network, points_m, transmitters, snr_m4, receivers, phases, amplitudes):
        found[:, splits, places] = block
    return found


def split_position_error_m(
    network: AccessPoints,
    points_m: Float,
    transmitters: Flags,
    snr_m4: ArrayLike,
    *,
    receivers: Flags | None = None,
    phases: Phases = "coherent",
    amplitudes: Amplitudes = "sign-free",
) -> Float:
    """Position error bound of each division at each point, [S, P], m; infinite where the echoes do not locate the target.

    The parameters are those of :func:`split_information`. The matrices are not kept.
    """
    found = np.empty((len(transmitters), len(points_m)))
    for splits, places, block in _blocks(network, points_m, transmitters, snr_m4, receivers, phases, amplitudes):
        found[splits, places] = position_error_m(block)
    return found


def position_error_map_m(
    network: AccessPoints,
    points_m: Float,
    transmitters: tuple[int, ...],
    receivers: tuple[int, ...],
    snr_m4: ArrayLike,
    *,
    phases: Phases = "coherent",
    amplitudes: Amplitudes = "sign-free",
) -> Float:
    """Position error bound of one target at points [..., 2], for numbers of transmitters and receivers: [...], m."""
    roles = np.zeros((2, 1, len(network.positions_m)), dtype=bool)
    roles[0, 0, list(transmitters)] = True
    roles[1, 0, list(receivers)] = True
    flat = np.asarray(points_m, dtype=np.float64).reshape(-1, 2)
    error = split_position_error_m(
        network, flat, roles[0], snr_m4, receivers=roles[1], phases=phases, amplitudes=amplitudes
    )  # fmt: skip
    return error.reshape(np.shape(points_m)[:-1])


def position_error_m(matrices: Float) -> Float:
    """``sqrt(tr J^-1)`` of matrices [3, ...] of :func:`split_information`: shape [...], m; infinite where they are singular."""
    xx, yy, xy = matrices
    trace = xx + yy
    determinant = xx * yy
    determinant -= xy * xy
    least = trace * trace
    least *= UNSEEN
    seen = determinant > least
    if seen.all():
        trace /= determinant
    else:
        trace = np.divide(trace, determinant, out=np.full_like(trace, np.inf), where=seen)
    return np.sqrt(trace, out=trace)


def _blocks(
    network: AccessPoints,
    points_m: Float,
    transmitters: Flags,
    snr_m4: ArrayLike,
    receivers: Flags | None,
    phases: Phases,
    amplitudes: Amplitudes,
) -> Iterator[tuple[NDArray[np.intp], slice, Float]]:
    """Numbers of divisions, places of points and their information [3, divisions, points], a cache at a time."""
    sending = np.asarray(transmitters, dtype=bool)
    hearing = ~sending if receivers is None else np.asarray(receivers, dtype=bool)
    if not (sending.any(axis=1).all() and hearing.any(axis=1).all()):
        raise ValueError("every division needs a transmitter and a receiver")
    roles = (np.where(sending, np.broadcast_to(snr_m4, sending.shape), 0.0), hearing.astype(np.float64))
    # Of a single pair the phase tells nothing. Rounding would leave a little of it.
    pair = (sending.sum(axis=1) == 1) & (hearing.sum(axis=1) == 1)
    kinds: tuple[Phases, ...] = ("coherent", "noncoherent") if phases == "coherent" else (phases,)
    groups = zip((~pair, pair) if len(kinds) > 1 else (pair | ~pair,), kinds, strict=True)
    # Coordinate by coordinate, since runs of neighbouring numbers are faster.
    places_m = np.ascontiguousarray(points_m.T)
    for chosen, known in groups:
        numbers = np.flatnonzero(chosen)
        if not len(numbers):
            continue
        one_by_one = _one_division if len(numbers) == 1 else _many_divisions
        for part, places, sent, heard in one_by_one(Terms(network, known, amplitudes), places_m, roles, numbers):
            yield part, places, information(Terms(network, known, amplitudes), sent, heard)


_Sums = Iterator[tuple[NDArray[np.intp], slice, Float, Float]]
"""Numbers of divisions, places of points, sums over transmitters and over receivers [F, divisions, points]."""


def _one_division(terms: Terms, points_m: Float, roles: tuple[Float, Float], numbers: NDArray[np.intp]) -> _Sums:
    """Each access point has one role: its terms are added at once, for long runs of points."""
    members = [np.flatnonzero(role[numbers[0]]) for role in roles]
    width = min(points_m.shape[1], _RUN)
    step = min(width, _STEP)
    work = np.empty((ARRAYS, _TOGETHER, step))
    space = np.empty((2, terms.rows, width))
    for start in range(0, points_m.shape[1], width):
        points = points_m[:, start : start + width]
        sums = space[:, :, : points.shape[1]]
        for total, own, role in zip(sums, members, roles, strict=True):
            for first, begin in product(range(0, len(own), _TOGETHER), range(0, points.shape[1], step)):
                part, run = own[first : first + _TOGETHER], slice(begin, begin + step)
                _add_rows(role[numbers[0], part], terms.of(points[:, run], part, work), total[:, run], more=first > 0)
            terms.merge(total)
        yield numbers, slice(start, start + points.shape[1]), sums[0][:, np.newaxis], sums[1][:, np.newaxis]


def _many_divisions(terms: Terms, points_m: Float, roles: tuple[Float, Float], numbers: NDArray[np.intp]) -> _Sums:
    """The terms of an access point serve all divisions: the sums are matrix products."""
    everyone = np.arange(roles[0].shape[1])
    width = min(points_m.shape[1], max(64, _CELLS // len(everyone)))
    work = np.empty((ARRAYS, len(everyone), width))
    height = max(1, 2 * _CELLS // width)
    space = np.empty((2, terms.kept, height, width))
    for start in range(0, points_m.shape[1], width):
        points = points_m[:, start : start + width]
        of_all = terms.of(points, everyone, work)
        terms.merge(of_all)
        for first in range(0, len(numbers), height):
            part = numbers[first : first + height]
            room = space[:, :, : len(part), : points.shape[1]]
            for role, out in zip(roles, room, strict=True):
                _add_rows(role[part], of_all[: terms.kept], out)
            yield part, slice(start, start + points.shape[1]), room[0], room[1]


@np.errstate(invalid="ignore")  # A point at an access point is refused by its sums.
def _add_rows(weights: Float, rows: Float, out: Float, *, more: bool = False) -> None:
    """Sum of rows over access points, put into ``out`` or, if there is ``more``, added to it."""
    if more:
        out += weights @ rows
    else:
        np.matmul(weights, rows, out=out)
