"""Statements of 002 about signals and their Fisher information, as residuals of a sampled signal.

Lemma 1, Theorem 1, Proposition 1 and Appendix A are compared with echoes that are differentiated one by one; the Jacobian (45)
with differences of angles and delays; the power behind (7) with its mean over node phases.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.arrays import delay_vector, steering_vector
from disac.geometry import angles_rad, delays_s
from disac.metrics.fisher import SensingModel, fisher_information, location_jacobian, mean_derivatives
from disac.metrics.printed_fisher import ERRATA, appendix_information, differentiated_information
from disac.metrics.sinr import received_power

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]


def sample_covariances(waveform: Complex) -> Complex:
    """``R_l``, the mean of x_l x_l^H over symbols, of a waveform [T, N, M_t, L]: shape [L, N M_t, N M_t]."""
    x = waveform.transpose(0, 3, 1, 2).reshape(len(waveform), waveform.shape[3], -1)
    return np.einsum("tli,tlj->lij", x, x.conj()) / len(waveform)


def signal_residuals(model: SensingModel, channels: Complex, waveform: Complex) -> dict[str, float]:
    """Lemma 1, Theorem 1, Proposition 1 and Appendix A for a sampled signal [T, N, M_t, L]."""
    derivatives = mean_derivatives(model)
    same_node = np.kron(np.eye(len(model.nodes_m)), np.ones((model.transmit_antennas, model.transmit_antennas)))
    covariances = sample_covariances(waveform)
    exact = differentiated_information(model, waveform)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))

    def error(information: Float) -> float:
        return float(np.abs((information - exact) / scale).max())

    def by_map(given: Complex) -> Float:
        return fisher_information(derivatives, given, model.noise_power)

    nodes = len(model.nodes_m)
    owner = np.arange(model.subcarriers) % nodes
    interleaved = waveform * (owner == np.arange(nodes)[:, np.newaxis, np.newaxis])
    of_owners = differentiated_information(model, interleaved)
    size = np.sqrt(np.outer(np.diag(of_owners), np.diag(of_owners)))
    of_blocks = by_map(sample_covariances(interleaved) * same_node)
    return {
        "lemma1_residual": _lemma_1(model, waveform),
        "theorem1_residual": error(by_map(covariances)),
        "without_cross_terms": error(by_map(covariances * same_node)),
        "band_mean_residual": error(by_map(covariances.mean(axis=0, keepdims=True) + 0 * covariances)),
        "proposition1_residual": float(np.abs((of_blocks - of_owners) / size).max()),
        "jacobian_residual": _jacobian_residual(model),
        "sinr_power_residual": _power_residual(channels, waveform[0]),
        "appendix_error": error(appendix_information(model, waveform)),
        "appendix_corrected_error": error(appendix_information(model, waveform, ERRATA)),
    } | {
        f"appendix_{name.replace('-', '_')}_error": error(
            appendix_information(model, waveform, [other for other in ERRATA if other != name])
        )
        for name in ERRATA
    }  # fmt: skip


def _lemma_1(model: SensingModel, waveform: Complex) -> float:
    """Largest difference of the two sides of (16), V from (6) against the face-splitting products, of their size."""
    targets, nodes = len(model.targets_m), len(model.nodes_m)
    angle = angles_rad(model.nodes_m, model.targets_m, model.orientation)
    delay = delays_s(model.nodes_m, model.targets_m)
    transmit = steering_vector(angle, model.transmit_antennas).swapaxes(1, 2)
    worst, x = 0.0, waveform[0]

    def columns(left: Complex, right: Complex) -> Complex:
        return np.einsum("ac,bc->abc", left, right).reshape(-1, left.shape[1])

    unit = np.eye(model.subcarriers, dtype=np.complex128)
    for n, i, j in np.ndindex(nodes, nodes, nodes):
        d = [delay_vector(delay[n] + delay[m], model.subcarriers, model.bandwidth_hz).T for m in (i, j)]
        v = [(x[m].T @ transmit[m]) * turn for m, turn in zip((i, j), d, strict=True)]
        direct = v[0].conj().T @ v[1]
        sides = [columns(transmit[m], turn) for m, turn in zip((i, j), d, strict=True)]
        split = sides[0].conj().T @ columns(x[i].conj(), unit) @ columns(x[j], unit).T @ sides[1]
        size = float(np.linalg.norm(v[0]) * np.linalg.norm(v[1])) / targets
        worst = max(worst, float(np.abs(split - direct).max()) / size)
    return worst


def _jacobian_residual(model: SensingModel) -> float:
    """Largest difference of (45) from differences of angles and delays, both in units of the largest of their kind."""
    targets, step = len(model.targets_m), 1e-4
    printed = location_jacobian(model)[: 2 * targets, : 2 * targets * len(model.nodes_m)]
    rows = []
    for axis, k in np.ndindex(2, targets):
        ends = []
        for sign in (1.0, -1.0):
            moved = model.targets_m.copy()
            moved[k, axis] += sign * step
            angle, delay = angles_rad(model.nodes_m, moved, model.orientation), delays_s(model.nodes_m, moved)
            ends.append((np.exp(1j * angle), delay))
        # By way of unit vectors: angles jump at the back of an array.
        turned = np.angle(ends[0][0] / ends[1][0])
        rows.append(np.concatenate([turned.ravel(), (ends[0][1] - ends[1][1]).ravel()]) / (2.0 * step))
    numeric, half = np.array(rows), printed.shape[1] // 2
    kinds = (slice(0, half), slice(half, None))
    return max(float(np.abs(numeric[:, kind] - printed[:, kind]).max() / np.abs(printed[:, kind]).max()) for kind in kinds)


def _power_residual(channels: Complex, signal: Complex) -> float:
    """Received power averaged over node phases (roots of unity, exact for what is quadratic) against the sum behind (7)."""
    x = signal.transpose(2, 0, 1).reshape(signal.shape[2], -1)
    expected = received_power(channels, np.einsum("li,lj->lij", x, x.conj()))
    heard = np.einsum("nulm,nml->nul", channels.conj(), signal)
    nodes = np.arange(len(channels))
    code = np.exp(2j * np.pi * np.outer(nodes, nodes) / len(nodes))
    mean = (np.abs(np.einsum("nt,nul->tul", code, heard)) ** 2).mean(axis=0)
    return float(np.abs(mean / expected - 1.0).max())
