"""The least divergence over the whole boxes of the target's angles, not over a grid.

The power that a covariance W puts on an angle, ``a^T W a^*`` with ``a_m = exp(j m phi)`` and ``phi = pi sin(angle)``, is a
trigonometric polynomial in phi of degree M - 1, and so is the whitened gain of a receiver. Bernstein's inequality bounds its
derivatives; the profile's are known. So every echo's output SCNR has a second derivative of at most some C along the angle of
a node, and between two points delta apart it is at least the smaller of the two less ``C delta^2 / 8``. Cells between points
are halved until none can hold less than what was found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from disac.drops.coherent import CoherentDrop
from disac.metrics.kld import EchoModel, block_divergence
from disac.rcs import lobed_profile

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

CHECK_POINTS = 9
"""Points per box of the grid where the search begins."""

CHECKED = 10_000
"""Combinations of angles on it at most: with more nodes, each has fewer points."""

MARGIN = 1e-7
"""Largest relative excess of the found value over the least, beside ``FLOOR`` times the largest value in the box."""

FLOOR = 1e-12

OPEN_CELLS = 100_000
"""Most cells that wait to be halved. Beyond it the proof ends."""

STARTS = 3
"""Number of grid points from which the search for dependent angles starts."""

COMBINATIONS = 256
"""Combinations of all angles on which a least divergence is checked."""


@dataclass(frozen=True)
class Bounds:
    """Largest absolute value of a function and of its first two derivatives by an angle, per rad."""

    level: Float
    slope: Float
    bend: Float

    def times(self, other: Bounds) -> Bounds:
        """Coefficients of the product."""
        return Bounds(
            self.level * other.level,
            self.slope * other.level + self.level * other.slope,
            self.bend * other.level + 2.0 * self.slope * other.slope + self.level * other.bend,
        )


@dataclass(frozen=True)
class Pattern:
    """Power of a positive semidefinite matrix X [M, M] over the angles of an array, ``p = a^T X a^*``.

    ``coefficients`` c_k [M] are those of ``p(phi) = c_0 + 2 Re sum_k c_k e^{j k phi}``, ``phi = pi sin(angle)``.
    """

    coefficients: Complex

    @classmethod
    def of(cls, matrix: Complex) -> Pattern:
        """Pattern of a matrix X; of its transpose for ``a^H X a``."""
        return cls(np.array([np.trace(matrix, offset=-k) for k in range(len(matrix))], dtype=np.complex128))

    def at(self, angles_rad: Float) -> Float:
        """Power at angles [...] from boresight, [...]."""
        turns = np.exp(1j * np.pi * np.sin(angles_rad)[..., np.newaxis] * np.arange(1, len(self.coefficients)))
        return np.maximum(np.real(self.coefficients[0]) + 2.0 * np.real(turns @ self.coefficients[1:]), 0.0)

    @cached_property
    def peak(self) -> float:
        """Above every power. Of L points around the circle one is within pi / L of the peak, where a polynomial of degree D is
        at least the peak times cos(pi D / L) (M. Riesz)."""
        degree = len(self.coefficients) - 1
        points = 16 * (degree + 1)
        around = 2.0 * np.real(np.fft.fft(self.coefficients, points)) - np.real(self.coefficients[0])
        return float(around.max()) / np.cos(np.pi * degree / points)

    def bounds(self, largest_angle_rad: float) -> Bounds:
        """By the angle, up to a largest angle from boresight.

        Less its mean, or half its peak, p is at most ``height``, and its derivatives by phi D and D^2 times that (Bernstein).
        """
        degree = len(self.coefficients) - 1
        height = min(self.peak / 2.0, 2.0 * float(np.abs(self.coefficients[1:]).sum()))
        turn = np.pi * degree
        sine = float(np.sin(min(largest_angle_rad, np.pi / 2.0)))
        return Bounds(np.array(self.peak), np.array(turn * height), np.array((turn**2 + turn * sine) * height))


class Least(NamedTuple):
    """Least value found, the angle errors where it is (one along a line, [N] in boxes), rad, and what it is proven not to be
    below."""

    value: float
    errors_rad: Float
    proven: float


def moves_together(drop: CoherentDrop) -> bool:
    """Whether a transmitter's angle scales the gains of all its links equally and no other angle matters."""
    alone = len(drop.nodes_m) == 1
    return alone or (drop.scenario.target.aspect == "transmit" and drop.scenario.clutter.patch_count == 0)


class EchoesOverBoxes:
    """Output SCNR that each transmitter n' causes at each receiver n while angles err, for sensing covariances [N, M, M]."""

    def __init__(self, drop: CoherentDrop, sensing: Complex, half_rad: float, *, full: bool) -> None:
        self._drop, self._full = drop, full
        self._angles, antennas = drop.target_angles_rad, drop.scenario.arrays.antennas
        power = float(np.sum(np.abs(drop.steering(self._angles)[0]) ** 2)) / antennas
        self._lit = [Pattern.of(power * each) for each in sensing]
        self._received = received_patterns(drop)
        widest = np.abs(self._angles) + half_rad
        self._lit_bounds = [p.bounds(w) for p, w in zip(self._lit, widest, strict=True)]
        self._received_bounds = [p.bounds(w) for p, w in zip(self._received, widest, strict=True)]
        target, lobe = drop.scenario.target, drop.lobe_rad
        peak, trough = lobed_profile(np.array([lobe, lobe + np.pi / 2.0]), target.lobe_swing_db, lobe)
        self._steepness = 0.5 * float(np.log(peak / trough))
        self._profile_peak = drop.mean_squares() / lobed_profile(_aspects(drop), target.lobe_swing_db, lobe) * peak

    def scnr(self, errors_rad: Float) -> Float:
        """Of every link at errors [G, N], [G, receiver, transmitter]."""
        away = self._angles + errors_rad
        received = np.stack([p.at(a) for p, a in zip(self._received, away.T, strict=True)], axis=-1)
        lit = np.stack([p.at(a) for p, a in zip(self._lit, away.T, strict=True)], axis=-1)
        return received[:, :, np.newaxis] * lit[:, np.newaxis, :] * self._drop.mean_squares(errors_rad)

    def divergence(self, scnr: Float) -> Float:
        """Of SCNR of the links [G, N, N], [G]. It grows with each of them in the block model, and with all together."""
        if not self._full:
            return block_divergence(scnr.sum(axis=-1))
        root = np.sqrt(scnr)
        whole = np.einsum("gim,gjm,mij->gij", root, root, self._drop.link_correlation())
        return block_divergence(np.maximum(np.linalg.eigvalsh(whole), 0.0))

    def bend(self, node: int, errors_rad: Float) -> Float:
        """Bound [N, N] of the second derivative of the SCNR by the error of one node, the others at errors [N]."""
        count = len(self._angles)
        away, receiver = self._angles + errors_rad, np.arange(count) == node
        received = _mixed([p.at(a) for p, a in zip(self._received, away, strict=True)], self._received_bounds, receiver)
        lit = _mixed([p.at(a) for p, a in zip(self._lit, away, strict=True)], self._lit_bounds, receiver)
        of_receiver, of_transmitter = {"transmit": (0.0, 1.0), "receive": (1.0, 0.0), "bisector": (0.5, 0.5)}[
            self._drop.scenario.target.aspect
        ]
        share = of_receiver * receiver[:, np.newaxis] + of_transmitter * receiver
        level = np.where(share > 0, self._profile_peak, self._drop.mean_squares(errors_rad))
        # ln Omega = a cos 2(psi - psi_0) + constant.
        a = self._steepness
        profile = Bounds(level, 2.0 * a * share * level, 4.0 * a * (1.0 + a) * share**2 * level)
        rows = Bounds(*(each[:, np.newaxis] for each in (received.level, received.slope, received.bend)))
        return rows.times(lit).times(profile).bend

    def along(self, node: int, errors_rad: Float, half_rad: float) -> Least:
        """Least divergence over the box of one node, the others at errors [N]."""

        def scnr(line: Float) -> Float:
            errors = np.broadcast_to(errors_rad, (len(line), len(errors_rad))).copy()
            errors[:, node] = line
            return self.scnr(errors)

        points = 9 + 8 * int(np.ceil(half_rad * self._drop.scenario.arrays.antennas))
        return least_on_line(scnr, self.divergence, self.bend(node, errors_rad), half_rad, points)


def received_patterns(drop: CoherentDrop) -> list[Pattern]:
    """``(1 - 2 delta)^2 q_n |L|^2`` of (35) in 000 over the angles of each receiver."""
    response = drop.steering(drop.target_angles_rad)
    inverse = np.linalg.inv(drop.disturbance)
    gained = np.real(np.einsum("na,nab,nb->n", response.conj(), inverse, response))
    scale = np.diagonal(drop.echo_gains()) / np.diagonal(drop.mean_squares()) / gained
    power = np.sum(np.abs(response) ** 2, axis=1) / response.shape[1]
    return [Pattern.of(s * p * each.T) for s, p, each in zip(scale, power, inverse, strict=True)]


def _aspects(drop: CoherentDrop) -> Float:
    receive, transmit = drop.bearings_rad[:, np.newaxis], drop.bearings_rad[np.newaxis, :]
    return {"transmit": 0.0 * receive + transmit, "receive": receive + 0.0 * transmit, "bisector": (receive + transmit) / 2.0}[
        drop.scenario.target.aspect
    ]


def _mixed(values: list[Float], bounds: list[Bounds], moves: NDArray[np.bool_]) -> Bounds:
    """Bounds [N] of a product of factors of which one changes and the others are fixed."""
    level = np.where(moves, [b.level for b in bounds], values)
    return Bounds(level, np.where(moves, [b.slope for b in bounds], 0.0), np.where(moves, [b.bend for b in bounds], 0.0))


def least_on_line(
    functions: Callable[[Float], Float], score: Callable[[Float], Float], bend: Float, half_rad: float, points: int
) -> Least:  # fmt: skip
    """Least of a score over ``|error| <= half_rad``, proven by bounds of second derivatives.

    Parameters
    ----------
    functions
        Non-negative functions [G, ...] of errors [G], rad.
    score
        What counts, [G], of values [G, ...]; it decreases where all of them do.
    bend
        Bounds [...] of the second derivatives of the functions.
    points
        Points of the first grid.
    """
    edges = np.linspace(-half_rad, half_rad, points)
    values = functions(edges)
    scores = score(values)
    floor = FLOOR * float(scores.max())
    at = int(np.argmin(scores))
    least, where = float(scores[at]), float(edges[at])
    left, right, at_left, at_right = edges[:-1], edges[1:], values[:-1], values[1:]
    while True:
        width = (right - left).reshape(-1, *[1] * bend.ndim)
        lows = score(np.maximum(np.minimum(at_left, at_right) - bend * width**2 / 8.0, 0.0))
        wait = lows < least * (1.0 - MARGIN) - floor
        if not wait.any():
            return Least(least, np.array(where), max(least * (1.0 - MARGIN) - floor, 0.0))
        if np.count_nonzero(wait) > OPEN_CELLS:
            return Least(least, np.array(where), float(lows.min()))
        left, right, at_left, at_right = left[wait], right[wait], at_left[wait], at_right[wait]
        middle = (left + right) / 2.0
        between = functions(middle)
        scores = score(between)
        at = int(np.argmin(scores))
        if scores[at] < least:
            least, where = float(scores[at]), float(middle[at])
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        at_left, at_right = np.concatenate([at_left, between]), np.concatenate([between, at_right])


def box_points(half_rad: float, nodes: int, points: int) -> Float:
    """All combinations of angle errors on a grid over the boxes, [points^N, N], rad."""
    line = np.linspace(-half_rad, half_rad, points)
    return np.array(list(itertools.product(line, repeat=nodes)))


def angles_that_count(drop: CoherentDrop, sensing: Complex) -> NDArray[np.intp]:
    """Nodes whose angle the divergence depends on, the silent ones first.

    A node that sends nothing to the target matters by its receive response, which only clutter can tell from another, and by
    the aspect where that is not the transmitter's.
    """
    lit = np.real(np.trace(sensing, axis1=1, axis2=2)) > 0
    return np.flatnonzero(lit) if moves_together(drop) else np.argsort(lit, kind="stable")


def divergences_at(drop: CoherentDrop, sensing: Complex, errors_rad: Float, *, full: bool) -> Float:
    """Divergence of sensing covariances W_s,n [N, M, M] at angle errors [G, N], [G]: aspects and responses all move."""
    away = drop.target_angles_rad + errors_rad
    response = drop.steering(away)
    t = np.real(np.einsum("gna,nab,gnb->gn", response, sensing, response.conj(), optimize=True))
    gains = drop.echo_gains(away)
    if full:
        correlation = drop.link_correlation()
        return np.array([float(EchoModel(g, correlation, True).divergence(each)) for g, each in zip(gains, t, strict=True)])
    scnr = np.einsum("gnm,gm->gn", gains, t)
    return (scnr - np.log1p(scnr)).sum(axis=1)


def least_divergence(drop: CoherentDrop, sensing: Complex, half_rad: float, *, full: bool = False) -> Least:
    """Least divergence of sensing covariances W_s,n [N, M, M] over the boxes ``|error of each node| <= half_rad``.

    It is sought node after node, each along its whole box. Where one angle does not change which other angle is worst that is
    the least, proven to ``MARGIN`` for each angle: for all senders where gains move together (``aspect: transmit``, no
    clutter), and for one sender unless the profile is read at the bisector. Elsewhere it is the least found from several
    points, and nothing is proven (zero).

    Returns
    -------
    Least
        Value and proven bound in nats, errors [N] in rad.
    """
    count = len(drop.nodes_m)
    order = angles_that_count(drop, sensing)
    points = CHECK_POINTS
    while points > 3 and points ** len(order) > CHECKED:
        points -= 2
    errors = np.zeros((points ** len(order), count))
    errors[:, np.sort(order)] = box_points(half_rad, len(order), points)
    values = divergences_at(drop, sensing, errors, full=full)
    first = int(np.argmin(values))
    if not order.size:
        return Least(float(values[first]), errors[first], float(values[first]))
    lit = np.count_nonzero(np.real(np.trace(sensing, axis1=1, axis2=2)) > 0)
    apart = moves_together(drop) or (lit == 1 and drop.scenario.target.aspect != "bisector")
    echoes = EchoesOverBoxes(drop, sensing, half_rad, full=full)
    starts = [first] if apart else list(np.argsort(values, kind="stable")[:STARTS])
    found = min((_descended(echoes, order, errors[start], half_rad) for start in starts), key=lambda least: least.value)
    value = float(divergences_at(drop, sensing, found.errors_rad[np.newaxis], full=full)[0])
    if not value < values[first] * (1.0 - MARGIN):
        # The grid has the least already.
        value, found = float(values[first]), found._replace(errors_rad=errors[first])
    return Least(value, found.errors_rad, min(found.proven, value) if apart else 0.0)


def other_points(drop: CoherentDrop, sensing: Complex, errors_rad: Float, half_rad: float) -> Float:
    """Errors [G, N] on which a least divergence that was found at errors [N] is checked: each box on a line through these, at
    16 M points per unit of the sine and between those of any search, and combinations of all (R. Kronecker's lattice)."""
    order = np.sort(angles_that_count(drop, sensing))
    count = CHECK_POINTS + int(np.ceil(32.0 * half_rad * drop.scenario.arrays.antennas))
    line = half_rad * (2.0 * (np.arange(count) + 1.0 / np.pi) / count - 1.0)
    lines = np.tile(errors_rad, (len(order), count, 1))
    for row, node in zip(lines, order, strict=True):
        row[:, node] = line
    roots = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0])
    mixed = np.tile(errors_rad, (COMBINATIONS, 1))
    mixed[:, order] = half_rad * (2.0 * (np.outer(np.arange(COMBINATIONS), roots[: len(order)]) % 1.0) - 1.0)
    return np.concatenate([*lines, mixed])


def _descended(echoes: EchoesOverBoxes, order: NDArray[np.intp], errors_rad: Float, half_rad: float) -> Least:
    """From errors [N], the box of one node after another, until none has less. What each box may lack adds up."""
    least, errors = np.inf, errors_rad
    while True:
        before, lacking = least, 0.0
        for node in order:
            found = echoes.along(int(node), errors, half_rad)
            lacking += found.value - found.proven
            if found.value < least:
                least = found.value
                errors = errors.copy()
                errors[node] = found.errors_rad
        if not least < before * (1.0 - MARGIN):
            return Least(least, errors, max(least - lacking, 0.0))
