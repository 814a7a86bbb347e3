"""Certificates of noncoherent designs, from the delivered covariances and the multipliers alone, in physical units.

The metrics compute value, bound and violations from the design. No value that the solver reports is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.feasibility import dual_slack, level_power_dual, proven_need
from disac.designs.location.problem import DesignProblem, Structure
from disac.metrics.fisher import localization_crb
from disac.optim.certificate import Certificate

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def location_crb_m2(problem: DesignProblem, covariances: Complex) -> float:
    """Location CRB (13) of 002 for given transmit covariances.

    Parameters
    ----------
    covariances
        ``R_l``, shape [L, N M_t, N M_t], in the unit of the problem's power limit.

    Returns
    -------
    float
        Squared error summed over targets, m^2; infinite where the targets cannot be located.
    """
    return localization_crb(problem.information(covariances), problem.targets)


class Judge:
    """Computation of certificates for the designs of one problem and one structure."""

    def __init__(self, problem: DesignProblem, structure: Structure) -> None:
        self.problem, self.structure = problem, structure

    def crb_m2(self, covariances: Complex) -> float:
        """Location CRB (13) of transmit covariances [L, D, D], m^2."""
        return location_crb_m2(self.problem, covariances)

    def judged(
        self, sinr: float, streams: Complex, power_dual: Float, sinr_dual: Float, fisher_dual: Float,
        node_dual: Complex | None = None,
    ) -> tuple[Certificate, float, float]:  # fmt: skip
        """Certificate of delivered covariances, computed from the covariances and the multipliers alone.

        Parameters
        ----------
        sinr
            Promised SINR, linear.
        streams, power_dual, sinr_dual, fisher_dual, node_dual
            As in :class:`Design`.

        Returns
        -------
        certificate
            The judged certificate, without the solver's iterations and seconds.
        delivered_crb_m2, min_sinr
            CRB of the transmitted signal and the least SINR reached, linear.
        """
        transmitted = streams.sum(axis=0)
        seen = self.structure.objective_covariances(transmitted)
        reached = self.problem.sinr(streams, transmitted)
        values = np.concatenate([np.linalg.eigvalsh(m).reshape(-1) for m in self.structure.definite(self.problem, streams)])
        value = self.crb_m2(seen)
        certificate = Certificate(
            "ok", "", value, self.dual_bound(sinr, power_dual, sinr_dual, fisher_dual, node_dual),
            power_violation=max(0.0, self.problem.power_share(transmitted) - 1.0),
            sinr_violation=max(0.0, 1.0 - float(reached.min()) / sinr),
            psd_violation=max(0.0, -float(values.min())) / max(float(values.max()), 1e-300),
        )  # fmt: skip
        delivered = value if np.array_equal(seen, transmitted) else self.crb_m2(transmitted)
        return certificate.judged(), delivered, float(reached.min())

    def least_power(self, sinr: float, power_dual: Float, sinr_dual: Float) -> float:
        """Lower bound of the power scaling that the multipliers prove; above 1 no design reaches the SINR."""
        return proven_need(self.problem, self.structure, sinr, power_dual, sinr_dual).at_least

    def fisher_dual(self, transmitted: Complex) -> Float:
        """``Y = (F(R) + J)^-1 S`` of transmitted covariances [L, D, D]: the best Y at that point, [P, 2K]."""
        problem = self.problem
        seen = self.structure.objective_covariances(transmitted)
        information = problem.information(seen)
        scale = 1.0 / np.sqrt(np.diag(information))
        selection = np.eye(len(information))[:, : 2 * problem.targets]
        scaled = information * np.outer(scale, scale)
        solved: Float = scale[:, np.newaxis] * np.linalg.solve(scaled, scale[:, np.newaxis] * selection)
        return solved

    def dual_bound(
        self, sinr: float, power_dual: Float, sinr_dual: Float, fisher_dual: Float, node_dual: Complex | None = None
    ) -> float:
        """Lower bound of the objective from multipliers; it holds for multipliers of any accuracy.

        For any Y the objective is at least ``2 tr(S^T Y) - tr(Y^T (F(R) + J) Y)``. The multipliers (lambda, mu) are raised
        until every dual inequality holds. Then the best multiple of Y gives the bound
        ``tr(S^T Y)^2 / (P_T sum lambda - (sigma_c^2/L) sum mu + tr(Y^T J Y))``. Under a flat spectrum the cost of each
        power multiplier is ``P_T / L``.
        """
        problem = self.problem
        reward = self.structure.objective_covariances(self._reward(fisher_dual))
        level = level_power_dual(problem, power_dual)
        slack = dual_slack(problem, self.structure, sinr, level, sinr_dual, reward, node_dual)
        lifted = level + max(0.0, -slack) * (1.0 + 1e-9)
        noise = problem.noise_power / problem.subcarriers
        cost = problem.power_cost(lifted) - noise * sinr_dual.sum()
        cost += float(np.sum(fisher_dual * (problem.prior @ fisher_dual)))
        return float(np.trace(fisher_dual[: 2 * problem.targets]) ** 2 / cost) if cost > 0 else 0.0

    def _reward(self, y: Float) -> Complex:
        """``G_l = D_c[(2 L / sigma_s^2) sum_{n,c} H_{n,l}(Y_c)^H H_{n,l}(Y_c)]``, with tr(Y^T F Y) = sum_l tr(G_l R_l)."""
        problem = self.problem
        rows = []
        for touched, seen in problem.receiver_derivatives:
            response: Complex = np.tensordot(y[touched].T, seen, axes=1)
            rows.append(response.swapaxes(0, 1).reshape(problem.subcarriers, -1, response.shape[-1]))
        responses = np.concatenate(rows, axis=1)
        weight = 2.0 * problem.subcarriers / problem.sensing.noise_power
        gram: Complex = weight * (responses.conj().swapaxes(-1, -2) @ responses)
        reward: Complex = gram * problem.attenuation
        return reward
