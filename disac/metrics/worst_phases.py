"""The least value of a Hermitian form over the phases of nodes, found and proven, and the users' SINRs that follow.

A user whose channel from node n is turned by phi_n hears beam j with the power ``|u^H y_j|^2``, where ``u_n = e^{j phi_n}`` and
``y_nj = h_n^H w_nj``. So it has the SINR Gamma for all ``|phi_n| <= delta`` where the form ``u^H Q u`` with ``Q = y_k y_k^H /
Gamma - sum_{j != k} y_j y_j^H`` is nowhere below the noise and what it hears of the sensing signals, which phases leave alone.

A common phase changes nothing, so that in a least point some node may have the phase ``+delta``. For two nodes the form is
then one cosine, solved in closed form. For more nodes the method is branch and bound over boxes of phases: with centre c, half
sides r and ``phi = c + x``,

    ``u^H Q u >= f(c) + sum_n min_{|x_n| <= r_n} (g_n x_n + mu x_n^2 / 2) - sum_{n < m} |Q_nm| (r_n + r_m)^3 / 3``

with the gradient g and the least eigenvalue mu of the Hessian at c: each pair of nodes adds a cosine of their difference, whose
third derivative is at most ``2 |Q_nm|``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]

TOLERANCE = 1e-10
"""Distance between value and proof at which a box is closed, relative to the sum of the form's absolute entries."""

MOST_BOXES = 100_000
"""Most boxes of one round. Beyond it the search ends, and the proof is the bound of the boxes."""

SWEEPS = 100


def user_forms(parts: Complex, sinr: float) -> Complex:
    """Q_k [K, N, N] of every user for ``y_nkj = h_nk^H w_nj`` [N, K hearing, K beam] and Gamma (linear)."""
    heard = np.einsum("nkj,mkj->knmj", parts, parts.conj())
    own = np.einsum("knmk->knm", heard)
    return np.asarray(own * (1.0 + 1.0 / sinr) - heard.sum(axis=3), dtype=np.complex128)


def proven_noise_under_phases(
    channels: Complex, users: Complex, sensing: Complex, sinr: float, phase_error_rad: float
) -> Float:  # fmt: skip
    """Noise power with which every user is proven to have the SINR for all node phases ``|phi_n| <= phase_error_rad``.

    Parameters
    ----------
    channels
        h_{n,k} [N, K, M].
    users, sensing
        Beams w_{c,n,k} [K, N, M] and w_{s,n} [N, M].
    sinr
        Gamma, linear.

    Returns
    -------
    float64, shape [K]
        Negative where phases take the SINR without any noise.
    """
    parts = np.einsum("nkm,jnm->nkj", channels.conj(), users)
    leaks = (np.abs(np.einsum("nkm,nm->nk", channels.conj(), sensing)) ** 2).sum(axis=0)
    return least_forms(user_forms(parts, sinr), phase_error_rad).proven - leaks


@dataclass(frozen=True)
class LeastForms:
    """Least values of forms [F, N, N] over phases: ``value`` [F] at ``phases`` [F, N], and ``proven`` [F] below all."""

    value: Float
    phases: Float
    proven: Float


def form_values(forms: Complex, phases: Float) -> Float:
    """``u^H Q u`` with ``u_n = e^{j phi_n}`` for forms [..., N, N] and phases [..., N]."""
    turned = np.exp(1j * phases)
    return np.real(np.einsum("...n,...nm,...m->...", turned.conj(), forms, turned))


def descend(forms: Complex, phases: Float, phase_error_rad: float) -> Float:
    """Lower forms [S, N, N] from starting phases [S, N], one phase at a time within ``|phi_n| <= phase_error_rad``.

    Each step takes the least point of a cosine on an interval. The returned phases [S, N] are those from which no change of
    one phase lowers the form.
    """
    phases = phases.copy()
    before = form_values(forms, phases)
    for _ in range(SWEEPS):
        for n in range(phases.shape[1]):
            turned = np.exp(1j * phases)
            turned[:, n] = 0.0
            # 2 Re(e^{-j phi_n} p) is least where phi_n is opposite to the angle of p.
            phases[:, n] = _lowest_angle(np.einsum("sm,sm->s", forms[:, n], turned), phase_error_rad)
        after = form_values(forms, phases)
        settled = before - after <= 1e-14 * np.abs(forms).sum(axis=(1, 2))
        before = after
        if settled.all():
            break
    return phases


def _lowest_angle(factor: Complex, limit: float) -> Float:
    """Angle in [-limit, limit] at which ``Re(e^{-j phi} p)`` is least, for factors p."""
    opposite = np.angle(-factor)
    low = np.real(np.exp(1j * limit) * factor) < np.real(np.exp(-1j * limit) * factor)
    return np.where(np.abs(opposite) <= limit, opposite, np.where(low, -limit, limit))


def least_forms(forms: Complex, phase_error_rad: float, tolerance: float = TOLERANCE) -> LeastForms:
    """Least values of Hermitian forms over ``|phi_n| <= phase_error_rad``, with proof.

    Parameters
    ----------
    forms
        Q, Hermitian, [F, N, N].
    phase_error_rad
        delta, from zero to pi, rad.
    tolerance
        Distance between the value and its proof, relative to the sum of the absolute entries of Q.
    """
    count, nodes, _ = forms.shape
    size = np.abs(forms).sum(axis=(1, 2))
    if nodes == 1 or phase_error_rad == 0.0:
        value = form_values(forms, np.zeros((count, nodes)))
        return LeastForms(value, np.zeros((count, nodes)), value - 1e-14 * size)
    if nodes == 2:
        return _pairs(forms, phase_error_rad, size)
    return _Boxes(forms, phase_error_rad, size, tolerance).searched()


def _pairs(forms: Complex, limit: float, size: Float) -> LeastForms:
    """Two nodes: one cosine of their difference, which reaches over twice the limit."""
    apart = _lowest_angle(forms[:, 0, 1].conj(), min(2.0 * limit, np.pi))
    phases = np.stack([-apart / 2.0, apart / 2.0], axis=1)
    value = form_values(forms, phases)
    return LeastForms(value, phases, value - 1e-14 * size)


class _Boxes:
    """Branch and bound of all forms at once; a box belongs to one form and has one node at the limit."""

    def __init__(self, forms: Complex, limit: float, size: Float, tolerance: float) -> None:
        self.forms, self.limit, self.size = forms, limit, size
        count, nodes, _ = forms.shape
        self.close = tolerance * size
        self.magnitude = np.abs(forms) * np.triu(np.ones((nodes, nodes)), 1)
        self.form = np.repeat(np.arange(count), nodes)
        self.centre = np.tile(limit * np.eye(nodes), (count, 1))
        self.half = np.tile(limit * (1.0 - np.eye(nodes)), (count, 1))
        corners = limit * np.array(np.meshgrid(*[[-1.0, 1.0]] * min(nodes, 6), indexing="ij")).reshape(min(nodes, 6), -1).T
        starts = np.zeros((len(corners) + 1, nodes))
        starts[:-1, : corners.shape[1]] = corners
        self.value, self.phases = np.full(count, np.inf), np.zeros((count, nodes))
        self.proven = np.full(count, np.inf)
        self._try(np.repeat(np.arange(count), len(starts)), np.tile(starts, (count, 1)))

    def _try(self, form: Index, starts: Float) -> None:
        """Descend from the starts and keep the least value."""
        found = descend(self.forms[form], starts, self.limit)
        values = form_values(self.forms[form], found)
        for f, value, phases in zip(form, values, found, strict=True):
            if value < self.value[f]:
                self.value[f], self.phases[f] = value, phases

    def _lower(self, form: Index, centre: Float, half: Float) -> Float:
        """Lower bounds of boxes."""
        turned = np.exp(1j * centre)
        terms = turned.conj()[:, :, np.newaxis] * self.forms[form] * turned[:, np.newaxis]
        nodes = centre.shape[1]
        gradient = 2.0 * terms.sum(axis=2).imag
        hessian = 2.0 * terms.real
        hessian[:, np.arange(nodes), np.arange(nodes)] = 0.0
        hessian[:, np.arange(nodes), np.arange(nodes)] = -hessian.sum(axis=2)
        # In units of the half sides, x_n = r_n z_n; a fixed node does not enter the least eigenvalue.
        stands = half <= 0.0
        scaled = half[:, :, np.newaxis] * hessian * half[:, np.newaxis]
        scaled[:, np.arange(nodes), np.arange(nodes)] += stands * np.abs(scaled).sum(axis=(1, 2))[:, np.newaxis]
        bent = np.linalg.eigvalsh(scaled)[:, :1]
        slope = np.abs(gradient * half)
        with np.errstate(divide="ignore", invalid="ignore"):
            fall = np.where(slope < bent, -(slope**2) / (2.0 * bent), bent / 2.0 - slope)
        apart = half[:, :, np.newaxis] + half[:, np.newaxis]
        rest = (self.magnitude[form] * apart**3).sum(axis=(1, 2)) / 3.0
        value = np.real(terms.sum(axis=(1, 2)))
        return value + np.where(stands, 0.0, fall).sum(axis=1) - rest - 1e-14 * self.size[form]

    def searched(self) -> LeastForms:
        """The least values, each box halved along its longest side until none can hold less."""
        while self.form.size:
            lower = self._lower(self.form, self.centre, self.half)
            kept = lower < (self.value - self.close)[self.form]
            crowded = np.count_nonzero(kept) > MOST_BOXES
            given_up = slice(None) if crowded else ~kept
            np.minimum.at(self.proven, self.form[given_up], lower[given_up])
            if crowded:
                break
            self.form, self.centre, self.half, lower = self.form[kept], self.centre[kept], self.half[kept], lower[kept]
            if not self.form.size:
                break
            self._try_lowest(lower)
            row, side = np.arange(len(self.form)), self.half.argmax(axis=1)
            self.half[row, side] /= 2.0
            step = np.zeros_like(self.half)
            step[row, side] = self.half[row, side]
            self.form, self.half = np.tile(self.form, 2), np.tile(self.half, (2, 1))
            self.centre = np.concatenate([self.centre - step, self.centre + step])
        return LeastForms(self.value, self.phases, np.minimum(self.proven, self.value - 1e-14 * self.size))

    def _try_lowest(self, lower: Float) -> None:
        """Descend from the centre of each form's lowest box."""
        order = np.lexsort((lower, self.form))
        lowest = order[np.unique(self.form[order], return_index=True)[1]]
        self._try(self.form[lowest], self.centre[lowest])
