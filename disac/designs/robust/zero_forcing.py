"""The zero-forcing benchmark of 000, section V: one share of the power on pseudo-inverse beams, the rest on blind sensing
beams."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust.guards import Margins, guarded_amplitudes
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.total_power import RobustDesign, judged, unheard
from disac.optim.certificate import Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

SHARES = 201
"""Values of the users' share of the power on the grid from 0 to 1."""


def zero_forcing(problem: RobustProblem, margins: Margins, sinr: float, *, best_node: bool = False) -> RobustDesign:
    """The share of power with the largest divergence that keeps every guarded SINR.

    Users get the normalised columns of the pseudo-inverse of all nodes' channels, with equal powers. Each node's sensing beam
    is the target's response projected off its users' channels. The nodes have equal powers, or the best node has all of the
    power (``best_node``), as in the optimum.

    Returns
    -------
    RobustDesign
        ``infeasible`` where no share on the grid serves the users, which proves nothing about other designs.
    """
    started = time.perf_counter()
    users, nodes = problem.users, problem.nodes
    if problem.unheard_user is not None:
        return unheard(problem, time.perf_counter() - started)
    stacked = problem.channels.transpose(1, 0, 2).reshape(users, -1)
    inverse = np.linalg.pinv(stacked.conj())
    beams = (inverse / np.linalg.norm(inverse, axis=0)).T.reshape(users, nodes, -1) / np.sqrt(users)
    sensing = _blind(problem.channels, problem.steering.conj())
    amplitudes = guarded_amplitudes(problem, margins, beams, sensing)
    wanted, heard = np.maximum(amplitudes.wanted, 0.0) ** 2, (amplitudes.heard**2).sum(axis=1)
    splits = np.eye(nodes) if best_node else np.full((1, nodes), 1.0 / nodes)
    share = np.linspace(0.0, 1.0, SHARES)[:, np.newaxis, np.newaxis]
    # If a node or an antenna would exceed its own limit, all powers are reduced.
    spent = share[..., np.newaxis] * (np.abs(beams) ** 2).sum(axis=0)
    spent = spent + (1.0 - share[..., np.newaxis]) * splits[..., np.newaxis] * np.abs(sensing) ** 2
    turned = 1.0 / np.maximum(problem.limit.busiest(spent), 1.0)[..., np.newaxis]
    disturbed = turned * (share * heard + (1.0 - share) * (splits @ (amplitudes.leaks**2).T)) + 1.0
    serves = (turned * share * wanted >= sinr * disturbed).all(axis=2)
    lit = np.abs(np.einsum("nm,nm->n", problem.steering, sensing)) ** 2
    t = problem.power * turned * (1.0 - share) * splits * lit
    values = np.where(serves, problem.divergence(t), -np.inf)
    if not serves.any():
        sentence = f"No share of the power on a grid of {SHARES} gives every user the SINR by zero forcing."
        return RobustDesign(Certificate("infeasible", sentence, seconds=time.perf_counter() - started, maximised=True))
    chosen, split = np.unravel_index(int(values.argmax()), values.shape)
    rho = float(share[chosen, 0, 0])
    scale = np.sqrt(problem.power * turned[chosen, split, 0])
    sent = Beams(scale * np.sqrt(rho) * beams, scale * np.sqrt(1.0 - rho) * np.sqrt(splits[split])[:, np.newaxis] * sensing)
    certificate = judged(problem, margins, sinr, sent, float("inf"), stationary=True)
    certificate = replace(certificate, dual_bound=float("nan"), seconds=time.perf_counter() - started)
    return RobustDesign(certificate, sent, sent.beampowers(problem.steering), int(np.argmax(t[chosen, split])))


def _blind(channels: Complex, target: Complex) -> Complex:
    """Unit beams [N, M] along the target's response [N, M] after projection off each node's channels [N, K, M].

    A node whose users take all of its directions has none, and a beam of zeros.
    """
    beams = np.empty_like(target)
    for n, (heard, response) in enumerate(zip(channels, target, strict=True)):
        basis = np.linalg.qr(heard.T)[0]
        rest = response - basis @ (basis.conj().T @ response)
        left = float(np.linalg.norm(rest))
        beams[n] = rest / left if left > 1e-9 * float(np.linalg.norm(response)) else 0.0
    return beams
