"""Fisher information of a sampled waveform as Appendix A of 002 prints it, and by differentiating the echoes (6).

Designs use :mod:`disac.metrics.fisher` and not this module. This module compares the printed blocks (46)-(51) with an
independent calculation. Three of the blocks are wrong; each can be corrected by itself (:data:`ERRATA`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_vector, steering_derivative, steering_vector
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

ERRATA = ("v-dot-tau", "49a", "49b")
"""``V-dot-tau`` has the derivative of A_t where it needs A_t; (49a) lacks one of A_r in its first term; (49b) has B_{n,n} for
B_{m,n}. E has ``F_theta theta`` in place of ``F_theta b`` and ``F_tau b``; this is read as a misprint."""


def mean_echoes(model: SensingModel, angle: Float, delay: Float, amplitudes: Complex, waveform: Complex) -> Complex:
    """Noiseless echoes of (6), ``A_r,n sum_m B_nm (A_t,m^T X_m o D_nm^T)``, at given angles and one-way delays.

    Parameters
    ----------
    angle, delay
        Shape [N, K], rad and s.
    amplitudes
        ``b_{n,m}^k``, shape [N, N, K].
    waveform
        ``X_m`` of every symbol, shape [T, N, M_t, L].

    Returns
    -------
    complex128, shape [T, N, M_r, L]
    """
    receive = steering_vector(angle, model.receive_antennas)
    lit = _lit(steering_vector(angle, model.transmit_antennas), waveform)
    turn = delay_vector(delay[:, np.newaxis] + delay, model.subcarriers, model.bandwidth_hz)
    return np.einsum("nkr,nmk,tmkl,nmkl->tnrl", receive, amplitudes, lit, turn, optimize=True)


def _lit(transmit: Complex, waveform: Complex) -> Complex:
    """``A_t,m^T X_m``: signal of each node at each target, shape [T, N, K, L]."""
    return np.einsum("mka,tmal->tmkl", transmit, waveform)


def differentiated_information(model: SensingModel, waveform: Complex) -> Float:
    """Fisher information of Psi (8) by central differences of the echoes (6), averaged over symbols.

    ``(2 L / sigma_s^2) Re (d mu / d psi_i)^H (d mu / d psi_j)``; all nodes transmit and receive.

    Returns
    -------
    float64, shape [2KN + 2KN^2, 2KN + 2KN^2], in the order of :func:`disac.metrics.fisher.mean_derivatives`
    """
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    # Steps of about 1e-5 in the phase of the last element and of the last subcarrier.
    steps = (1e-5 / (np.pi * model.receive_antennas), 1e-5 / (2.0 * np.pi * model.bandwidth_hz))
    rows = []
    for values, step in zip((angle, delay), steps, strict=True):
        for place in np.ndindex(values.shape):
            around = []
            for sign in (1.0, -1.0):
                moved = values.copy()
                moved[place] += sign * step
                pair = (moved, delay) if values is angle else (angle, moved)
                around.append(mean_echoes(model, *pair, model.amplitudes, waveform))
            rows.append((around[0] - around[1]).ravel() / (2.0 * step))
    units = []
    for place in np.ndindex(model.amplitudes.shape):
        unit = np.zeros_like(model.amplitudes)
        unit[place] = 1.0
        units.append(mean_echoes(model, angle, delay, unit, waveform).ravel())
    rows += units + [1j * row for row in units]
    gradient = np.array(rows)
    weight = 2.0 * model.subcarriers / (model.noise_power * len(waveform))
    return weight * np.real(gradient @ gradient.conj().T)


@dataclass(frozen=True)
class _Signals:
    """V and its derivatives with their amplitudes, per link [N, N, T L, K]; P and its derivative per receiver [N, T L, K]."""

    plain: Complex
    by_angle: Complex
    by_delay: Complex
    total: Complex
    total_by_delay: Complex


def _signals(model: SensingModel, waveform: Complex, *, delay_erratum: bool) -> _Signals:
    """``V_nm``, ``V-dot-theta B``, ``V-dot-tau B``, ``P_n = sum_m V_nm B_nm`` and ``P-dot_n`` below (48f)."""
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    both = delay[:, np.newaxis] + delay
    turn = delay_vector(both, model.subcarriers, model.bandwidth_hz)
    rate = -2j * np.pi * (model.bandwidth_hz / model.subcarriers) * np.arange(model.subcarriers)
    lit = _lit(steering_vector(angle, model.transmit_antennas), waveform)
    lit_by_angle = _lit(steering_derivative(angle, model.transmit_antennas), waveform)
    shape = (*both.shape[:2], len(waveform) * model.subcarriers, both.shape[2])

    def stacked(seen: Complex, turned: Complex) -> Complex:
        return np.einsum("tmkl,nmkl->nmtlk", seen, turned).reshape(shape)

    weight = model.amplitudes[:, :, np.newaxis]
    plain = stacked(lit, turn)
    by_delay = stacked(lit_by_angle if delay_erratum else lit, rate * turn) * weight
    return _Signals(
        plain, stacked(lit_by_angle, turn) * weight, by_delay, (plain * weight).sum(axis=1), by_delay.sum(axis=1)
    )  # fmt: skip


def appendix_information(model: SensingModel, waveform: Complex, corrected: Collection[str] = ()) -> Float:
    """Fisher information of Psi by the blocks (46)-(51) of 002 for a sampled waveform, averaged over symbols.

    Parameters
    ----------
    waveform
        Shape [T, N, M_t, L].
    corrected
        Which of :data:`ERRATA` to correct; none of them is the appendix as printed.

    Returns
    -------
    float64, shape [2KN + 2KN^2, 2KN + 2KN^2]
    """
    nodes, targets = len(model.nodes_m), len(model.targets_m)
    s = _signals(model, waveform, delay_erratum="v-dot-tau" not in corrected)
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    a = steering_vector(angle, model.receive_antennas).swapaxes(1, 2)
    da = steering_derivative(angle, model.receive_antennas).swapaxes(1, 2)
    tt, tu, uu = (np.zeros((nodes, targets, nodes, targets), dtype=np.complex128) for _ in range(3))
    for n, m in np.ndindex(nodes, nodes):
        tt[n, :, m], tu[n, :, m], uu[n, :, m] = _location_blocks(s, a, da, n, m)
    tb, ub = (np.zeros((nodes, targets, nodes, nodes, targets), dtype=np.complex128) for _ in range(2))
    bb = np.zeros((nodes, nodes, targets, nodes, nodes, targets), dtype=np.complex128)
    for n, m, i in np.ndindex(nodes, nodes, nodes):
        tb[n, :, m, i], ub[n, :, m, i] = _amplitude_blocks(model, s, a, da, (n, m, i), corrected)
        bb[n, m, :, n, i] = (_h(a[n]) @ a[n]) * (_h(s.plain[n, m]) @ s.plain[n, i])
    size, links = nodes * targets, nodes * nodes * targets
    angles, mixed, delays = (block.reshape(size, size) for block in (tt, tu, uu))
    t = np.block([[angles, mixed], [np.real(mixed).T, delays]])
    e = np.concatenate([tb.reshape(size, links), ub.reshape(size, links)])
    e = np.concatenate([e, 1j * e], axis=1)
    b = bb.reshape(links, links)
    g = np.block([[b, 1j * b], [(1j * b).real.T, b]])
    whole = np.real(np.block([[t, e], [np.real(e).T, g]]))
    return 2.0 * model.subcarriers / (model.noise_power * len(waveform)) * whole


def _h(matrix: Complex) -> Complex:
    return matrix.conj().T


def _location_blocks(s: _Signals, a: Complex, da: Complex, n: int, m: int) -> tuple[Complex, Complex, Complex]:
    """``F_{theta_n theta_m}``, ``F_{theta_n tau_m}`` and ``F_{tau_n tau_m}`` of (48), [K, K] each."""
    nodes = len(a)
    own, both = s.by_angle, s.by_delay

    def over_receivers(left: Complex, right: Complex) -> Complex:
        parts = [(_h(a[i]) @ a[i]) * (_h(left[i, n]) @ right[i, m]) for i in range(nodes)]
        return np.sum(parts, axis=0)

    near, far = _h(da[n]) @ a[n], _h(a[m]) @ da[m]
    plain_n, plain_m = _h(a[n]) @ a[n], _h(a[m]) @ a[m]
    tt = near * (_h(s.total[n]) @ own[n, m]) + far * (_h(own[m, n]) @ s.total[m]) + over_receivers(own, own)
    tu = near * (_h(s.total[n]) @ both[n, m]) + plain_m * (_h(own[m, n]) @ s.total_by_delay[m]) + over_receivers(own, both)
    uu = plain_n * (_h(s.total_by_delay[n]) @ both[n, m]) + plain_m * (_h(both[m, n]) @ s.total_by_delay[m])
    uu = uu + over_receivers(both, both)
    if n == m:
        tt = tt + (_h(da[n]) @ da[n]) * (_h(s.total[n]) @ s.total[n])
        tu = tu + near * (_h(s.total[n]) @ s.total_by_delay[n])
        uu = uu + plain_n * (_h(s.total_by_delay[n]) @ s.total_by_delay[n])
    return tt, tu, uu


def _amplitude_blocks(
    model: SensingModel, s: _Signals, a: Complex, da: Complex, link: tuple[int, int, int], corrected: Collection[str]
) -> tuple[Complex, Complex]:
    """``F_{theta_n b_{m,i}}`` and ``F_{tau_n b_{m,i}}`` of (49), [K, K] each."""
    n, m, i = link
    plain, v = _h(a[m]) @ a[m], s.plain[m, i]
    if n == m:
        first = _h(da[n]) @ a[n] if "49a" in corrected else plain
        tb = first * (_h(s.total[n]) @ v) + plain * (_h(s.by_angle[n, n]) @ v)
        return tb, plain * (_h(s.total_by_delay[n]) @ v) + plain * (_h(s.by_delay[n, n]) @ v)
    by_angle = s.by_angle[m, n]
    if "49b" not in corrected:
        by_angle = by_angle / model.amplitudes[m, n] * model.amplitudes[n, n]
    return plain * (_h(by_angle) @ v), plain * (_h(s.by_delay[m, n]) @ v)
