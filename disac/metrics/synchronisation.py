"""Prior information that a network has on its clocks and oscillators: from noncoherent to coherent in one bound.

The echo of target k at receiver n from transmitter m carries the phase ``psi_k + phi_n - phi_m + eps_nmk``: one unknown
reflection phase per target, one oscillator per node with ``phi_n ~ N(0, phase_std_rad^2)``, and ``eps ~ N(0,
link_phase_std_rad^2)`` for each link. Clocks ``t_n ~ N(0, clock_std_s^2)`` delay the baseband. The hybrid bound
``(E F + J)^{-1}`` averages the Fisher information over the phases and adds what is known beforehand:

* ``E F(R) = F(D_c[R])``, where D_c multiplies the blocks between two transmitters by ``c = exp(-(phase_std^2 +
  link_phase_std^2))``: again linear in the covariances (:meth:`Synchronisation.coherence`, :func:`spread`);
* J is constant (:meth:`Synchronisation.prior`).

With every link phase unknown this is the noncoherent bound of 002, whatever the carrier; with all phases known the coherent
one. Unknown node phases alone are not enough for the former where nodes transmit and receive with one oscillator: they enter
antisymmetrically, the position symmetrically. With several targets, the terms between two of them are kept at their nominal
phases (as in 002), exact where the links' phases are known.

Phases have one of two laws (:mod:`disac.phase_law`). The normal law ignores that phases wrap: from about one radian
on its prior information ``1 / std^2`` is more than a phase on the circle has. With the von Mises law ``std`` is the circular
standard deviation. The mean of ``e^{j phi}``, and so D_c, is the same; the prior information is that of the law on the circle,
``kappa I1(kappa) / I0(kappa)``. It vanishes with ``I1 / I0``, so that the bound goes over into the noncoherent one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz
from disac.phase_law import UNIFORM_RAD, PhaseLaw, phase_precision

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

_FORGOTTEN = 1e-10
"""Coherence below which two transmitters' phases count as unrelated."""


@dataclass(frozen=True)
class Synchronisation:
    """Standard deviations of the uncertain quantities: zero for known exactly, infinity for unknown.

    ``clock_std_s`` (node clock), ``phase_std_rad`` (node oscillator), ``link_phase_std_rad`` (reflection and calibration of
    each link), ``log_amplitude_std`` (ln of each amplitude's magnitude), ``position_std_m`` (each coordinate of a target),
    ``node_position_std_m`` (each coordinate of a node about the place that it is taken to have).
    ``carrier_hz`` sets how well known phases tell delays. ``clocks_turn_subcarriers``: whether the mean information counts that
    unknown clocks also turn the subcarriers of two transmitters against each other, ``exp(-(2 pi nu_l clock_std)^2)``.
    ``phase_law`` is the law of oscillators' and links' phases.
    """

    clock_std_s: float = 0.0
    phase_std_rad: float = float("inf")
    link_phase_std_rad: float = float("inf")
    log_amplitude_std: float = float("inf")
    position_std_m: float = float("inf")
    carrier_hz: float = 0.0
    clocks_turn_subcarriers: bool = True
    phase_law: PhaseLaw = "normal"
    node_position_std_m: float = 0.0

    def __post_init__(self) -> None:
        names = ("clock_std_s", "phase_std_rad", "link_phase_std_rad", "log_amplitude_std", "position_std_m")
        for name in (*names, "node_position_std_m"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a standard deviation is at least 0")
            if self.phase_law == "von-mises" and name.endswith("_rad") and getattr(self, name) >= UNIFORM_RAD:
                object.__setattr__(self, name, float("inf"))
        if self.position_std_m == 0 or self.log_amplitude_std == 0:
            raise ValueError("a position or an amplitude that is known exactly is no parameter: give a positive deviation")

    def coherence(self, subcarriers: int, bandwidth_hz: float) -> Float:
        """``c``: mean of the phase factor between two transmitters, shape [L]."""
        exponent = np.full(subcarriers, self.phase_std_rad**2 + self.link_phase_std_rad**2)
        if self.clocks_turn_subcarriers and self.clock_std_s > 0:
            turn = 2.0 * np.pi * np.abs(baseband_hz(subcarriers, bandwidth_hz))
            exponent = exponent + np.multiply(turn, self.clock_std_s, out=np.zeros_like(turn), where=turn > 0) ** 2
        kept = np.exp(-exponent)
        return np.where(kept < _FORGOTTEN, 0.0, kept)

    def phase_precision(self, receivers: tuple[int, ...], transmitters: tuple[int, ...], nodes: int, targets: int) -> Float:
        """``P``: prior information on the phases of all links when each target's own phase is unknown, shape [E, E].

        With ``Sigma = link_std^2 I + node_std^2 A A^T`` and the columns O of each target's links,
        ``P = Sigma^-1 - Sigma^-1 O (O^T Sigma^-1 O)^+ O^T Sigma^-1``. Links run over receiver, transmitter, target.

        Raises
        ------
        ValueError
            If the links' phases are known exactly: then they are no parameters (:func:`coherent_phases`).
        """
        if self.link_phase_std_rad == 0:
            raise ValueError("link phases that are known exactly have no precision")
        a, o = link_phases(receivers, transmitters, nodes, targets)
        if np.isinf(self._prior_std(self.link_phase_std_rad)):
            return np.zeros((len(a), len(a)))
        q, s, _ = np.linalg.svd(a, full_matrices=False)
        known = s > 1e-12 * s.max() if s.max() > 0 else np.zeros(len(s), dtype=bool)
        q, s = q[:, known], s[known]
        # In units of the links' precision. Node phases reduce the precision along q. Ratios keep infinite deviations exact.
        node_std, link_std = self._prior_std(self.phase_std_rad), self._prior_std(self.link_phase_std_rad)
        with np.errstate(divide="ignore"):
            ratio = (node_std / link_std) ** 2 * s**2
        scaled = np.eye(len(a)) - q @ q.T + (q / (1.0 + ratio)) @ q.T
        image = scaled @ o
        values, vectors = np.linalg.eigh(o.T @ image)
        # 1e-13 and not more: with poorly known nodes and well known links the true value is (link / node)^2.
        inverse = np.where(values > 1e-13 * len(a), 1.0 / np.where(values > 0, values, 1.0), 0.0)
        projected = scaled - (image @ vectors * inverse) @ (image @ vectors).T
        precision: Float = 0.5 * (projected + projected.T) / link_std**2
        return precision

    def _prior_std(self, std_rad: float) -> float:
        """Standard deviation of the normal law with the prior information of the phases' own law, rad."""
        if self.phase_law == "normal" or std_rad in (0.0, float("inf")):
            return std_rad
        return float(phase_precision(std_rad, self.phase_law) ** -0.5)

    def phase_directions(
        self, receivers: tuple[int, ...], transmitters: tuple[int, ...], nodes: int, targets: int
    ) -> tuple[Float, Float]:
        """Phase errors of the links when the links' own phases are known: directions [E, r] and the precision of each, [r].

        The directions are those of the oscillators, without their common phase, then those of the targets. If the oscillators
        are unknown, the directions are a basis of the space that oscillators and targets span, which may be smaller.
        """
        a, o = link_phases(receivers, transmitters, nodes, targets)
        if self.phase_std_rad == 0:
            return o, np.zeros(targets)
        turned = np.concatenate([a @ clock_basis(nodes), o], axis=1)
        node_std = self._prior_std(self.phase_std_rad)
        if np.isinf(node_std):
            directions, s, _ = np.linalg.svd(turned, full_matrices=False)
            directions = directions[:, s > 1e-12 * s[0]]
            return directions, np.zeros(directions.shape[1])
        return turned, np.concatenate([np.full(nodes - 1, node_std**-2.0), np.zeros(targets)])

    def prior(
        self, receivers: tuple[int, ...], transmitters: tuple[int, ...], nodes: int, amplitudes: Complex, dense: int
    ) -> Float:  # fmt: skip
        """``J`` over (location and unknown angles or delays, positions of nodes, clocks, Re b, Im b), shape [P, P].

        Parameters
        ----------
        amplitudes
            Shape [N_r, N_t, K]; a phase turns and a magnitude stretches them.
        dense
            Number of parameters before the positions of nodes and the clocks; the first 2K are positions of targets.
        """
        targets, b = amplitudes.shape[-1], amplitudes.reshape(-1)
        clocks = nodes - 1 if self.clock_std_s > 0 else 0
        moved = 2 * nodes if self.node_position_std_m > 0 else 0
        location, first = 2 * targets, dense + moved + clocks
        if self.link_phase_std_rad == 0:
            _, precision = self.phase_directions(receivers, transmitters, nodes, targets)
            prior = np.zeros((first + len(precision) + len(b),) * 2)
            at = np.arange(first, first + len(precision))
            prior[at, at] = precision
            at = np.arange(len(prior) - len(b), len(prior))
            prior[at, at] = self.log_amplitude_std**-2.0
        else:
            prior = np.zeros((first + 2 * len(b),) * 2)
            polar = np.zeros((2 * len(b),) * 2)
            magnitudes = np.arange(len(b))
            polar[magnitudes, magnitudes] = self.log_amplitude_std**-2.0
            polar[len(b) :, len(b) :] = self.phase_precision(receivers, transmitters, nodes, targets)
            inverse = np.diag(1.0 / b)
            to_polar = np.block([[inverse.real, -inverse.imag], [inverse.imag, inverse.real]])
            prior[first:, first:] = to_polar.T @ polar @ to_polar
        at = np.arange(location)
        prior[at, at] = self.position_std_m**-2.0
        at = np.arange(dense, dense + moved)
        prior[at, at] = 0.0 if moved == 0 else self.node_position_std_m**-2.0
        at = np.arange(dense + moved, first)
        prior[at, at] = 0.0 if clocks == 0 else self.clock_std_s**-2.0
        return prior


def clock_basis(nodes: int) -> Float:
    """Orthonormal columns that sum to zero, shape [N, N - 1]: offsets without the common one, which no echo shows.

    Column i has ``1/sqrt(i (i+1))`` in its first i rows and ``-i/sqrt(i (i+1))`` in the next.
    """
    basis = np.zeros((nodes, nodes - 1))
    for i in range(1, nodes):
        basis[:i, i - 1], basis[i, i - 1] = 1.0, -float(i)
        basis[:, i - 1] /= np.sqrt(i * (i + 1.0))
    return basis


def link_phases(receivers: tuple[int, ...], transmitters: tuple[int, ...], nodes: int, targets: int) -> tuple[Float, Float]:
    """Which oscillators [E, N] (plus at the receiver, minus at the transmitter) and targets [E, K] turn each link."""
    links = [(n, m, k) for n in receivers for m in transmitters for k in range(targets)]
    a, o = np.zeros((len(links), nodes)), np.zeros((len(links), targets))
    for e, (n, m, k) in enumerate(links):
        a[e, n] += 1.0
        a[e, m] -= 1.0
        o[e, k] = 1.0
    return a, o


def coherent_phases(unit: Complex, amplitudes: Complex, directions: Float) -> Complex:
    """Derivatives with respect to the unknown parameters of the amplitudes when the links' phases are known.

    Parameters
    ----------
    unit
        Derivatives with respect to the complex amplitudes, shape [E, ...].
    directions
        Of :meth:`Synchronisation.phase_directions`, shape [E, r].

    Returns
    -------
    complex128, shape [r + E, ...]
        Phases along the directions, ln of the magnitudes.
    """
    stretched = amplitudes.reshape((-1,) + (1,) * (unit.ndim - 1)) * unit
    return np.concatenate([np.tensordot(directions.T, 1j * stretched, axes=1), stretched])


def spread(derivatives: Complex, coherence: Float, transmitters: int) -> Complex:
    """Receive antennas, and virtual antennas that see one transmitter each: ``sum V^H V = D_c[H^H H]``.

    ``D_c[H^H H] = c H^H H + (1 - c) sum_m H_m^H H_m`` with H restricted to each transmitter m.

    Parameters
    ----------
    derivatives
        Shape [P, N_r, L, M_r, N_t M_t].
    coherence
        c of each subcarrier, shape [L].

    Returns
    -------
    complex128, shape [P, N_r, L, S M_r, N_t M_t]
        With as many slots S as :func:`slot_weights` has.
    """
    weights = slot_weights(coherence, transmitters)
    if weights.shape[0] == 1:
        return derivatives
    each = np.repeat(weights, derivatives.shape[-1] // transmitters, axis=2)
    slots = each[np.newaxis, np.newaxis].transpose(0, 1, 3, 2, 4)[:, :, :, :, np.newaxis]
    wide: Complex = derivatives[:, :, :, np.newaxis] * slots
    return wide.reshape(*derivatives.shape[:3], -1, derivatives.shape[-1])


def slot_weights(coherence: Float, transmitters: int) -> Float:
    """Factor of each transmitter in every slot, shape [S, L, N_t]: the first slot sees all, each other slot one."""
    together = np.sqrt(coherence)[np.newaxis, :, np.newaxis] * np.ones((1, 1, transmitters))
    if (coherence == 1.0).all() or transmitters == 1:
        return np.ones_like(together)
    alone = np.sqrt(1.0 - coherence)[np.newaxis, :, np.newaxis] * np.eye(transmitters)[:, np.newaxis]
    return alone if (coherence == 0.0).all() else np.concatenate([together, alone])
