"""What no split with so many receivers exceeds: an upper bound on the mean score, with numbers that prove it; ours.

Three inequalities make it, for any numbers V_p, a_p, d:

- ``1 / PEB^2 <= tr(V^T I V)`` for every V with ``tr(V^T E) = 1``, E selecting (x, y): linear in the information I;
- ``score(x) <= intercept(a) + a x`` for every slope a, since the score is bounded by a concave function;
- so the mean score is at most a constant plus ``sum_tr G_tr u_t (1 - u_r)``. With signs ``s = 2u - 1`` and ``z = (1, s)`` this
  is a constant plus ``z^T L z``. For every d the form is at most ``sum d + (A + 1) max(0, lambda_max(Q^T (L - diag d) Q))``,
  where Q spans the z with ``sum s = |T| - |R|``.

``proven`` computes the bound from these numbers alone. ``bounded_split`` looks for good ones: conditional gradients over the
matrices ``z z^T``, relaxed to a semidefinite set whose linear programs are solved by Newton's method on a barrier.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from disac.designs.dmimo.selection_rules import greedy, swapped
from disac.designs.dmimo.sensing_score import Coverage, MeanLog, Score, mean_score
from disac.designs.dmimo.split_front import FEW_SPLITS, best_of_size
from disac.metrics.pair_information import PACKED, PairInformation

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

ROUNDS = 60
"""Conditional gradients at most."""

CLOSE = 1e-3
"""Difference between the relaxed score and its bound at which the search ends."""

_BARRIER = np.geomspace(3.0, 3e3, 6)
"""Weights of the objective against the barrier, in units of one over the range of the eigenvalues."""

_NEWTON_STEPS = 60

_DEFINITE = 1e-10
"""Least eigenvalue, with a unit diagonal, of a relaxed sum."""


@dataclass(frozen=True)
class SplitCertificate:
    """The numbers that prove a bound.

    ``directions`` [P, 2 or 3, 2]: V of each point, whose first two rows have trace one; ``slopes`` [P] a_p >= 0, m^2;
    ``diagonal`` [A + 1]: d.
    """

    receivers: int
    directions: Float
    slopes: Float
    diagonal: Float


@dataclass(frozen=True)
class BoundedSplit:
    """A split, its mean score, and what no split of its size exceeds.

    ``certificate`` is None where every split of the size was computed: the bound is then the value.
    """

    transmitters: Bool
    value: float
    upper_bound: float
    certificate: SplitCertificate | None
    rounds: int

    @property
    def gap(self) -> float:
        """Bound less value, in the unit of the score: 0.01 of a mean log bound is one per cent of the geometric mean PEB."""
        return self.upper_bound - self.value


def proven(certificate: SplitCertificate, information: PairInformation, score: Score) -> float:
    """The bound that a certificate proves, by inequalities that hold for any numbers in it.

    Raises
    ------
    ValueError
        The numbers are not of the form for which the inequalities hold.
    """
    trace = np.einsum("pii->p", certificate.directions[:, :2])
    if not np.allclose(trace, 1.0, rtol=1e-9) or np.any(certificate.slopes < 0):
        raise ValueError("a certificate needs directions of trace one and slopes that are not negative")
    directions = certificate.directions / trace[:, np.newaxis, np.newaxis]
    constant = information.weights @ score.intercept(certificate.slopes)
    priced = _prices(information, directions, certificate.slopes, certificate.receivers)
    form, rest = _form(priced)
    span = _span(information.access_points, certificate.receivers)
    inside = span.T @ (form - np.diag(certificate.diagonal)) @ span
    largest = max(float(np.linalg.eigvalsh(inside)[-1]), 0.0)
    return float(constant + rest + certificate.diagonal.sum() + (information.access_points + 1) * largest)


def bounded_split(
    information: PairInformation,
    receivers: int,
    score: Score | None = None,
    *,
    rounds: int = ROUNDS,
    close: float = CLOSE,
    few: int = FEW_SPLITS,
) -> BoundedSplit:
    """The rule for many access points: greedy choice with exchanges, and from the relaxed optimum, beside the bound.

    Parameters
    ----------
    receivers
        Number of receivers, from 1 to A - 1.
    rounds, close
        Where the search for the bound ends. A bound is valid wherever it ends.
    few
        Splits of the size up to which each is computed instead; zero for a certificate in any case.
    """
    score = MeanLog() if score is None else score
    if comb(information.access_points, receivers) <= few:
        sends = best_of_size(information, receivers, score)
        value = float(mean_score(score, information, sends))
        return BoundedSplit(sends, value, value, None, 0)
    starts = [swapped(information, greedy(information, receivers))]
    if isinstance(score, Coverage):
        starts.append(swapped(information, starts[0], score))
    certificate, relaxed, used = _relaxed(information, receivers, score, rounds, close)
    # The relaxed optimum, rounded: the leading direction of the signs.
    spread = relaxed[1:, 1:] - np.outer(relaxed[1:, 0], relaxed[1:, 0])
    leading = np.linalg.eigh(spread)[1][:, -1]
    for sign in (1.0, -1.0):
        rounded = np.ones(information.access_points, dtype=bool)
        rounded[np.argsort(sign * leading, kind="stable")[:receivers]] = False
        starts.append(swapped(information, rounded, score))
    values = mean_score(score, information, np.stack(starts))
    best = int(np.argmax(values))
    return BoundedSplit(starts[best], float(values[best]), proven(certificate, information, score), certificate, used)


def _relaxed(
    information: PairInformation, receivers: int, score: Score, rounds: int, close: float
) -> tuple[SplitCertificate, Float, int]:  # fmt: skip
    """The best certificate found, the relaxed matrix of ``z z^T`` and the number of rounds."""
    count = information.access_points
    span = _span(count, receivers)
    share = information.share(count - receivers)
    # All splits of the size, evenly: the mean of z z^T.
    mean = (count - 2.0 * receivers) / count
    mixed = np.full((count + 1, count + 1), mean)
    mixed[1:, 1:] = (count * mean**2 - 1.0) / (count - 1.0)
    np.fill_diagonal(mixed, 1.0)
    totals = _totals(information, mixed) * share
    best, lowest, diagonal, used = None, np.inf, np.zeros(count + 1), 0
    while used < rounds:
        used += 1
        directions, inverse = _directions(totals)
        slopes = score.slope(inverse)
        priced = _prices(information, directions, slopes, receivers)
        form, _ = _form(priced)
        vertex, diagonal = _largest_form(form, span, diagonal)
        certificate = SplitCertificate(receivers, directions, slopes, diagonal)
        bound = proven(certificate, information, score)
        if bound < lowest:
            best, lowest = certificate, bound
        reached = float(information.weights @ _concave(score, inverse))
        if lowest - reached <= close:
            break
        target = _totals(information, vertex) * share
        step = _line(information, totals, target, score)
        if step == 0.0:
            break
        mixed = (1.0 - step) * mixed + step * vertex
        totals = (1.0 - step) * totals + step * target
    if best is None:
        raise ValueError("a bound needs at least one round")
    return best, mixed, used


def _concave(score: Score, inverse: Float) -> Float:
    """The least concave function above the score at ``1 / PEB^2``."""
    return np.minimum(1.0, score.limit_m**2 * inverse) if isinstance(score, Coverage) else 0.5 * np.log(inverse)


def _directions(totals: Float) -> tuple[Float, Float]:
    """V = I^-1 E / tr(E^T I^-1 E) [P, 2 or 3, 2], and the inverse squared bounds [P], of sums [P, 3 or 6]."""
    matrices = _matrices(totals)
    scale = 1.0 / np.sqrt(np.einsum("pii->pi", matrices))
    scaled = matrices * scale[:, :, np.newaxis] * scale[:, np.newaxis]
    columns = scale[:, :, np.newaxis] * np.linalg.inv(scaled)[:, :, :2] * scale[:, np.newaxis, :2]
    trace = np.einsum("pii->p", columns[:, :2])
    return columns / trace[:, np.newaxis, np.newaxis], 1.0 / trace


def _matrices(totals: Float) -> Float:
    """Sums [P, 3 or 6] as matrices [P, 2 or 3, 2 or 3]."""
    size = 2 if totals.shape[1] == 3 else 3
    matrices = np.empty((len(totals), size, size))
    for number, (row, column) in enumerate(PACKED[: totals.shape[1]]):
        matrices[:, row, column] = matrices[:, column, row] = totals[:, number]
    return matrices


def _prices(information: PairInformation, directions: Float, slopes: Float, receivers: int) -> Float:
    """``G_tr = sum_p c_p a_p tr(V_p^T F_tr,p V_p)``, [A, A], of a split with so many receivers."""
    count, kept = information.access_points, information.entries.shape[1]
    outer = directions @ directions.swapaxes(1, 2)
    factors = np.stack([outer[:, row, column] * (1.0 if row == column else 2.0) for row, column in PACKED[:kept]], axis=1)
    factors *= (information.weights * slopes)[:, np.newaxis]
    flat = information.entries.reshape(-1, count * count)
    return (factors.ravel() @ flat).reshape(count, count) * information.share(count - receivers)


def _totals(information: PairInformation, signs: Float) -> Float:
    """Sums [P, 3 or 6] of relaxed ``z z^T`` [A + 1, A + 1]: u_t (1 - u_r) = (1 + s_t - s_r - s_t s_r) / 4."""
    count = information.access_points
    pairs = 0.25 * (1.0 + signs[1:, :1] - signs[:1, 1:] - signs[1:, 1:])
    points, kept = information.entries.shape[:2]
    return (information.entries.reshape(-1, count * count) @ pairs.ravel()).reshape(points, kept)


def _form(priced: Float) -> tuple[Float, float]:
    """L and the constant of ``sum_tr G_tr u_t (1 - u_r) = constant + z^T L z``."""
    count = len(priced)
    form = np.zeros((count + 1, count + 1))
    form[1:, 1:] = -(priced + priced.T) / 8.0
    form[0, 1:] = form[1:, 0] = (priced - priced.T).sum(axis=1) / 8.0
    return form, 0.25 * float(priced.sum())


def _span(access_points: int, receivers: int) -> Float:
    """Orthonormal columns [A + 1, A] of all z with ``sum s = (A - 2 receivers) z_0``."""
    normal = np.ones((access_points + 1, 1))
    normal[0] = 2.0 * receivers - access_points
    return np.linalg.qr(normal, mode="complete")[0][:, 1:]


def _largest_form(form: Float, span: Float, start: Float) -> tuple[Float, Float]:
    """Nearly the largest ``<L, Z>`` over ``Z = Q W Q^T >= 0`` with unit diagonal, and multipliers d that prove it.

    Newton's method on ``k sum d - ln det(Q^T diag(d) Q - Q^T L Q)``; at its minimum ``Z = Q (...)^-1 Q^T / k`` is feasible.
    """
    inside, size = span.T @ form @ span, len(form)
    spread = float(np.ptp(np.linalg.eigvalsh(inside))) or 1.0
    shift = float(np.linalg.eigvalsh(inside - span.T @ (start[:, np.newaxis] * span))[-1])
    diagonal = start + shift + 0.1 * spread
    inverse = np.eye(size)

    def height(weight: float, tried: Float) -> float:
        try:
            factor = np.linalg.cholesky(span.T @ (tried[:, np.newaxis] * span) - inside)
        except np.linalg.LinAlgError:
            return np.inf
        return weight * float(tried.sum()) - 2.0 * float(np.log(np.diagonal(factor)).sum())

    for weight in _BARRIER / spread:
        here = height(weight, diagonal)
        for _ in range(_NEWTON_STEPS):
            inverse = span @ np.linalg.inv(span.T @ (diagonal[:, np.newaxis] * span) - inside) @ span.T
            gradient, curvature = weight - np.diagonal(inverse), inverse**2
            # Of two APs the signs are opposite, so that one of the three diagonal entries follows from another.
            curvature[np.diag_indices(size)] *= 1.0 + 1e-12
            direction = -np.linalg.solve(curvature, gradient)
            fall = -float(gradient @ direction)
            if fall < 1e-6:
                break
            step, there = 1.0, height(weight, diagonal + direction)
            while there > here - 0.25 * step * fall and step > 1e-6:
                step *= 0.5
                there = height(weight, diagonal + step * direction)
            if not there < here:
                break
            diagonal, here = diagonal + step * direction, there
    return inverse / _BARRIER[-1] * spread, diagonal


def _line(information: PairInformation, totals: Float, target: Float, score: Score) -> float:
    """The share of ``target`` with the largest relaxed score, by bisection of its derivative."""

    def rise(step: float) -> float:
        directions, inverse = _directions((1.0 - step) * totals + step * target)
        outer = directions @ directions.swapaxes(1, 2)
        change = target - totals
        moved = sum(
            change[:, number] * outer[:, row, column] * (1.0 if row == column else 2.0)
            for number, (row, column) in enumerate(PACKED[: totals.shape[1]])
        )
        return float((information.weights * score.slope(inverse)) @ np.asarray(moved))

    def located(step: float) -> bool:
        matrices = _matrices((1.0 - step) * totals + step * target)
        size = np.einsum("pii->pi", matrices)
        if np.any(size <= 0.0):
            return False
        scale = 1.0 / np.sqrt(size)
        return bool(np.linalg.eigvalsh(matrices * scale[:, :, np.newaxis] * scale[:, np.newaxis])[:, 0].min() > _DEFINITE)

    # With unequal roles a relaxed product u_t (1 - u_r) can be negative, and so can a sum.
    low, high = 0.0, 1.0
    while not located(high):
        high *= 0.5
        if high < 1e-3:
            return 0.0
    if rise(high) >= 0.0:
        return high
    for _ in range(25):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rise(middle) > 0.0 else (low, middle)
    return low
