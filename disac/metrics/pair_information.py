"""What each pair of a transmitting and a receiving access point (AP) tells about a target at a point (004, sections II, III).

In orthogonal slots the pairs' echoes are independent. An element of the pair (t, r) has the phase
``psi_nm = phi - k0 (d_t + d_r) + n kappa_r + m kappa_t`` with one reflection phase ``phi`` per target. So the information on
``(x, y, phi)`` is the sum over the pairs of a split: a sum over ``t`` in T and ``r`` in R of tabulated 3x3 matrices.
Eliminating ``phi`` last gives the bound. Other models (blocked paths, unequal powers, wideband pulses) bring other tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.units import SPEED_OF_LIGHT_M_S

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Slots = Literal["per-transmitter", "in-total"]

PACKED = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))
"""Rows and columns of a symmetric matrix in the order in which tables keep its entries. Two parameters take the first three."""

_SINGULAR = 1e-12
"""Determinant in units of the squared trace below which a point cannot be located."""


@dataclass(frozen=True)
class PairInformation:
    """Tables of the information of pairs at points.

    ``entries`` [P, 6, A, A] (point, entry of (x, y, phase) in the order of ``PACKED``, transmitter, receiver), or [P, 3, A, A]
    where no phase is shared between pairs; 1/m^2, 1/m and 1. The diagonal over APs is zero: no AP hears itself. With ``slots``
    per transmitter, an entry counts one transmitter's own slots. With slots in total it counts all of them, which the
    transmitters of a split share evenly. ``weights`` [P]: the shares of the points in means, with sum one.
    """

    entries: Float
    weights: Float
    slots: Slots = "per-transmitter"

    def __post_init__(self) -> None:
        points, kept, transmitters, receivers = self.entries.shape
        if kept not in (3, 6) or transmitters != receivers or self.weights.shape != (points,):
            message = f"entries of shape {self.entries.shape} and weights of shape {self.weights.shape} do not match"
            raise ValueError(f"{message}: [P, 3 or 6, A, A] and [P] are accepted")
        if np.any(np.diagonal(self.entries, axis1=2, axis2=3)):
            raise ValueError("an AP has information of its own echo: the diagonal of entries must be zero")
        if np.any(self.weights <= 0) or not np.isclose(self.weights.sum(), 1.0):
            raise ValueError("weights must be positive, and their sum must be one")

    @property
    def access_points(self) -> int:
        """Number of APs, A."""
        return self.entries.shape[2]

    @property
    def symmetric(self) -> bool:
        """Whether exchanging the roles of two APs changes nothing."""
        return bool(np.array_equal(self.entries, self.entries.swapaxes(2, 3)))

    def share(self, transmitters: int) -> float:
        """What an entry counts where so many APs transmit."""
        return 1.0 if self.slots == "per-transmitter" else 1.0 / max(transmitters, 1)

    def totals(self, transmitters: Bool) -> Float:
        """Sum over the pairs of each split: ``transmitters`` [..., A] to [..., P, 3 or 6]."""
        sends = np.asarray(transmitters, dtype=np.float64)
        flat = sends.reshape(-1, self.access_points)
        heard = self.entries @ (1.0 - flat).T
        summed = np.einsum("pcab,ba->bpc", heard, flat, optimize=True)
        shares = np.array([self.share(int(row.sum())) for row in flat])
        summed *= shares[:, np.newaxis, np.newaxis]
        return summed.reshape(*sends.shape[:-1], *summed.shape[1:])

    def squared_bounds(self, transmitters: Bool) -> Float:
        """Squared position error bound of each split at each point, m^2: [..., A] to [..., P]; infinite where unknown."""
        return squared_bound(np.moveaxis(self.totals(transmitters), -1, 0))


def squared_bound(packed: Float) -> Float:
    """Trace of the inverse of the information on (x, y), in m^2, after eliminating the phase if there is one.

    Parameters
    ----------
    packed
        Entries in the order of ``PACKED``, shape [3 or 6, ...].

    Returns
    -------
    float64, shape [...]
        Infinite where the information is singular.
    """
    xx, xy, yy = packed[:3]
    if len(packed) == 6:
        xp, yp, pp = packed[3:]
        inverse = np.divide(1.0, pp, out=np.zeros_like(pp), where=pp > 0)
        xx, xy, yy = xx - xp * xp * inverse, xy - xp * yp * inverse, yy - yp * yp * inverse
    trace, determinant = xx + yy, xx * yy - xy * xy
    known = determinant > _SINGULAR * trace * trace
    return np.divide(trace, determinant, out=np.full_like(trace, np.inf), where=known & (trace > 0))


def coherent_pairs(
    positions_m: Float,
    orientations_rad: Float,
    points_m: Float,
    *,
    antennas: int,
    carrier_hz: float,
    energy_over_noise: float,
    cross_section_m2: float = 1.0,
    coherent: bool = True,
) -> Float:
    """Tables of the paper's model with the same isotropic sensing signal from every AP (closed form).

    Gradients of the phase are ``g = -k0 grad d + (N - 1)/2 grad kappa`` for each AP, element 0 being the reference, and the
    scatter within a pair is ``(N^2 - 1)/12 grad kappa grad kappa^T`` for each of its two APs. The weight of a pair is
    ``2 N^2 alpha^2 c / sigma^2`` with ``alpha^2 = lambda^2 sigma_rcs / ((4 pi)^3 d_t^2 d_r^2)``.

    Parameters
    ----------
    positions_m, orientations_rad
        Of the APs: [A, 2] and [A].
    points_m
        Places of a target, [P, 2].
    energy_over_noise
        ``c / sigma^2``, where ``X X^H = c I`` is the sample covariance of one transmitter's sensing signal over its slots:
        ``c = L0 (1 - rho) P_t / N``.
    coherent
        Without it every pair has a phase of its own, and tables have three entries.

    Returns
    -------
    float64, shape [P, 6, A, A], or [P, 3, A, A] where not coherent

    Raises
    ------
    ValueError
        A point lies on an AP.
    """
    wavelength = SPEED_OF_LIGHT_M_S / carrier_hz
    v = positions_m[:, np.newaxis] - points_m
    distance = np.hypot(v[..., 0], v[..., 1])
    if np.any(distance == 0):
        raise ValueError("a point lies on an access point, where the echo has no bound")
    wave = 2.0 * np.pi / wavelength
    along = np.stack([np.cos(orientations_rad), np.sin(orientations_rad)], axis=-1)[:, np.newaxis]
    # kappa = pi sin(theta - o): its cosine needs no angle.
    cosine = (v * along).sum(axis=-1) / distance
    turn = np.pi * (cosine / distance**2)[..., np.newaxis] * np.stack([v[..., 1], -v[..., 0]], axis=-1)
    weight = np.sqrt(2.0 * energy_over_noise * cross_section_m2 * wavelength**2 / (4.0 * np.pi) ** 3) * antennas / distance**2
    scatter = (antennas**2 - 1) / 12.0 * _packed_square(turn)
    gradient = wave * v / distance[..., np.newaxis] + 0.5 * (antennas - 1) * turn
    # The phase is free: gradients from their mean over the APs give the same bound with less cancellation.
    gradient = gradient - gradient.mean(axis=0)
    if not coherent:
        return _joined(weight, weight[..., np.newaxis] * scatter)
    second = weight[..., np.newaxis] * (scatter + _packed_square(gradient))
    first = weight[..., np.newaxis] * gradient
    entries = np.empty((len(points_m), 6, len(positions_m), len(positions_m)))
    entries[:, :3] = _joined(weight, second)
    for number, (row, column) in enumerate(PACKED[:3]):
        product = np.einsum("tp,rp->ptr", first[..., row], first[..., column])
        entries[:, number] += product + product.swapaxes(1, 2)
    entries[:, 3:5] = _joined(weight, first)
    entries[:, 5] = np.einsum("tp,rp->ptr", weight, weight)
    _without_own(entries)
    return entries


def _packed_square(vectors: Float) -> Float:
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([x * x, x * y, y * y], axis=-1)


def _joined(weight: Float, owned: Float) -> Float:
    """``w_t f_r + f_t w_r`` of one AP's numbers f [A, P, F]: [P, F, A, A] with a zero diagonal."""
    product = np.einsum("tp,rpf->pftr", weight, owned)
    joined = product + product.swapaxes(2, 3)
    _without_own(joined)
    return joined


def _without_own(entries: Float) -> None:
    own = np.arange(entries.shape[-1])
    entries[..., own, own] = 0.0


def all_splits(access_points: int) -> Bool:
    """Every set of transmitters, [2^A, A]: AP m transmits in set number s where bit m of s is one."""
    return (np.arange(2**access_points)[:, np.newaxis] >> np.arange(access_points) & 1).astype(bool)


def totals_of_all_splits(information: PairInformation, *, half: bool = False) -> Iterator[tuple[int, Float]]:
    """The sums of every split, point after point: number of the point and [3 or 6, 2^A] in the order of ``all_splits``.

    ``u^T F (1 - u)`` of ``u = (low, high)`` is a sum of one part per half and of a product of both, so that one small matrix
    product per point makes all sums. With ``half`` only the sets without the last AP, 2^(A - 1) of them.
    """
    count = information.access_points
    low_count = count // 2
    low = all_splits(low_count).astype(np.float64)
    high = all_splits(count - low_count).astype(np.float64)
    if half:
        high = high[: len(high) // 2]
    sizes = (high.sum(axis=1)[:, np.newaxis] + low.sum(axis=1)).ravel()
    shares = None
    if information.slots == "in-total":
        shares = 1.0 / np.maximum(sizes, 1.0)
    for point, table in enumerate(information.entries):
        rows = table.sum(axis=2)
        own = [
            part @ rows[:, ranged].T - np.einsum("si,cij,sj->sc", part, table[:, ranged, ranged], part, optimize=True)
            for part, ranged in ((low, slice(0, low_count)), (high, slice(low_count, count)))
        ]
        both = table[:, :low_count, low_count:] + table[:, low_count:, :low_count].swapaxes(1, 2)
        left = np.concatenate(
            [np.broadcast_to(high, (len(table), *high.shape)), own[1].T[..., np.newaxis], np.ones((len(table), len(high), 1))],
            axis=2,
        )
        right = np.concatenate([-(low @ both), np.ones((len(table), len(low), 1)), own[0].T[..., np.newaxis]], axis=2)
        summed = (left @ right.swapaxes(1, 2)).reshape(len(table), -1)
        yield point, summed if shares is None else summed * shares
