"""What access points contribute to the information on the position of one target: sums over roles are all that a bound needs.

The closed form is that of :mod:`disac.metrics.position_error_map`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.units import SPEED_OF_LIGHT_M_S

Float = NDArray[np.float64]
Phases = Literal["coherent", "noncoherent"]
Amplitudes = Literal["sign-free", "nonnegative", "structured"]

ARRAYS = 24
"""Arrays that the rows of :class:`Terms` and what lies between take at most."""


@dataclass(frozen=True)
class AccessPoints:
    """Access points with uniform linear arrays at half a wavelength.

    ``positions_m`` [A, 2]; ``boresights_rad`` [A], the direction that each array faces, as in :mod:`disac.geometry` (the
    orientation of 004 is half a turn more, as its angles are those of the access point seen from the target). ``antennas`` N of
    each. A signal of ``subcarriers`` over ``bandwidth_hz``, centred at ``carrier_hz``; one subcarrier tells no range.
    """

    positions_m: Float
    boresights_rad: Float
    antennas: int
    carrier_hz: float
    bandwidth_hz: float = 0.0
    subcarriers: int = 1

    @property
    def wavenumber_rad_m(self) -> float:
        """``k0``, rad/m."""
        return 2.0 * np.pi * self.carrier_hz / SPEED_OF_LIGHT_M_S

    @property
    def band_spread(self) -> float:
        """Variance of the frequencies in the band over the square of the carrier."""
        return (self.bandwidth_hz / self.subcarriers / self.carrier_hz) ** 2 * (self.subcarriers**2 - 1) / 12.0


@dataclass(frozen=True)
class Terms:
    """What access points contribute to the sums, lengths in units of 1/k0.

    Rows: w; for coherent phases first moments of g; second moments of the phase's gradient; with a band first and second
    moments of ``grad d``; with structured amplitudes those of ``grad ln d``. Second moments are xx, yy, xy. Of coherent phases
    the scatter over the antennas stands apart until :meth:`merge` adds it: xx and yy in the last two rows, xy in the place of
    the yy of ``g g^T``, whose trace is w and that of the scatter.
    """

    network: AccessPoints
    phases: Phases
    amplitudes: Amplitudes

    @property
    def coherent(self) -> bool:
        """Whether the target has one phase."""
        return self.phases == "coherent"

    @property
    def kept(self) -> int:
        """Rows that count once the scatter is merged."""
        return (6 if self.coherent else 4) + 5 * (self.network.band_spread > 0) + 5 * (self.amplitudes == "structured")

    @property
    def rows(self) -> int:
        """Rows before that."""
        return self.kept + (2 if self.coherent else 0)

    @np.errstate(divide="ignore", invalid="ignore")  # A point at an access point is refused by its sums.
    def of(self, points_m: Float, members: NDArray[np.intp], work: Float) -> Float:
        """Rows of some access points at points [2, n]: [F, members, n], in ``work`` [ARRAYS, members or more, n or more].

        With v from the access point to the target, ``zeta = v / d^2`` and ``U = v / d``: ``grad d = U`` and ``grad kappa =
        -j pi Re(zeta e^{-j boresight}) U`` up to a common sign, so that no angle is needed. The time is that of passes.
        """
        network, half = self.network, (self.network.antennas - 1) / 2.0
        room = work[:, : len(members), : points_m.shape[1]]
        rows, (x, y, turn, across, along) = room[: self.rows], room[self.rows : self.rows + 5]
        np.subtract(points_m[0], network.positions_m[members, :1], out=x)
        np.subtract(points_m[1], network.positions_m[members, 1:], out=y)
        w = np.multiply(x, x, out=rows[0])
        w += np.multiply(y, y, out=turn)
        np.divide(1.0, w, out=w)
        x *= w
        y *= w
        facing = (half * np.pi / network.wavenumber_rad_m) * np.exp(1j * network.boresights_rad[members])[:, np.newaxis]
        np.multiply(x, facing.real, out=turn)
        turn += np.multiply(y, facing.imag, out=across)
        np.multiply(turn, y, out=across)
        np.multiply(turn, x, out=along)
        _squares(across, along, (rows[-2], rows[-1], rows[4]) if self.coherent else tuple(rows[1:4]))
        at, band = 6 if self.coherent else 4, network.band_spread > 0
        size = np.sqrt(w, out=turn) if self.coherent or band else turn
        if band:
            np.multiply(x, size, out=rows[at])
            np.multiply(y, size, out=rows[at + 1])
            _squares(x, y, tuple(rows[at + 2 : at + 5]))
            at += 5
        if self.amplitudes == "structured":
            np.multiply(x, w, out=rows[at])
            np.multiply(y, w, out=rows[at + 1])
            _squares(x, y, tuple(rows[at + 2 : at + 5]))
            rows[at + 2 : at + 5] *= w
        if self.coherent:
            x += across
            y -= along
            np.multiply(x, size, out=rows[1])
            np.multiply(y, size, out=rows[2])
            np.multiply(x, x, out=rows[3])
            np.multiply(x, y, out=rows[5])
        return rows

    @np.errstate(invalid="ignore")
    def merge(self, rows: Float) -> None:
        """Add the scatter of ``grad kappa`` over the antennas, which is across ``grad d``, to the second moments, in place."""
        # (N^2-1)/12 over the square of (N-1)/2, with which the turn was scaled. A single antenna has none.
        antennas = self.network.antennas
        ratio = (antennas + 1.0) / (3.0 * (antennas - 1.0)) if antennas > 1 else 0.0
        if self.coherent:
            (xx, yy), xy = rows[-2:], rows[4]
            xy *= ratio
            rows[5] -= xy
            np.subtract(rows[0], rows[3], out=xy)
            xy += xx
            xy += yy
            rows[-2:] *= ratio
            rows[3:5] += rows[-2:]
        else:
            rows[1:4] *= ratio
            np.negative(rows[3], out=rows[3])


def _squares(x: Float, y: Float, out: tuple[Float, ...]) -> None:
    """xx, yy, xy of a vector."""
    np.multiply(x, x, out=out[0])
    np.multiply(y, y, out=out[1])
    np.multiply(x, y, out=out[2])


def information(terms: Terms, sent: Float, heard: Float) -> Float:
    """Information from the sums over transmitters and over receivers, [F, S, n] each: [3, S, n]."""
    if not (np.isfinite(sent[0]).all() and np.isfinite(heard[0]).all()):
        raise ValueError("a point is at an access point, where no bound exists")
    at = 3 if terms.coherent else 1
    found = _of_second(sent, heard, at)
    if terms.coherent:
        _take_means(found, sent, heard, 1)
    at += 3
    wavenumber, spread = terms.network.wavenumber_rad_m, terms.network.band_spread
    if spread > 0:
        band = _of_second(sent, heard, at + 2)
        # Also the mean of both gradients tells the range.
        (x_t, y_t), (x_r, y_r) = sent[at : at + 2], heard[at : at + 2]
        band += np.stack([2.0 * x_t * x_r, 2.0 * y_t * y_r, x_t * y_r + y_t * x_r])
        found += spread * band
        at += 5
    if terms.amplitudes == "structured":
        more = _of_second(sent, heard, at + 2)
        _take_means(more, sent, heard, at)
        found += more / wavenumber**2
    found *= 2.0 * wavenumber**2
    return found


def _of_second(sent: Float, heard: Float, at: int) -> Float:
    """``W_R M_T + W_T M_R`` of the second moments M from row ``at`` on: [3, S, n]."""
    found = np.empty((3, *sent.shape[1:]))
    for number, part in enumerate(found, start=at):
        np.multiply(heard[0], sent[number], out=part)
        part += sent[0] * heard[number]
    return found


def _take_means(found: Float, sent: Float, heard: Float, at: int) -> None:
    """Take away what the means of all pairs contribute: ``W_R m_T m_T^T / W_T`` and the same with roles exchanged."""
    for role, other in ((sent, heard), (heard, sent)):
        ratio = other[0] / role[0]
        x, y = ratio * role[at], ratio * role[at + 1]
        found[2] -= x * role[at + 1]
        x *= role[at]
        y *= role[at + 1]
        found[0] -= x
        found[1] -= y
