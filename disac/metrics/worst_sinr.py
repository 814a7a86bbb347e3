"""SINR of coherently served users when channels err, and the worst errors of a declared set, by search.

The wanted and the interfering amplitudes of all nodes add up, ``(h_k + e_k)^H w_j``, while the nodes' sensing signals are
independent (000, (5) and (6)). A search that finds no harmful error proves nothing. For one ball over all nodes the search is
exact; for a ball per node and for phases it descends coordinate by coordinate from many starts. The proof that no error in the
balls takes the SINR is :func:`proven_noise_in_balls`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
ErrorSet = Literal["norm-ball", "stacked-ball", "phase"]

STARTS = 12
ROUNDS = 60
SETTLED = 1e-9
NEWTON_STEPS = 30
BARRIERS = np.geomspace(0.1, 1e-12, 9)
"""Weights of the barrier, one after another, in units of the form. The last one sets how close the bound comes."""

SHORTEST = 1e-3
"""Shorter steps are rounding: the method goes on with the next weight."""

NEARBY = 0.01
"""Newton's decrement, in units of the barrier's weight, at which the next weight is taken."""


def coherent_beam_sinr(channels: Complex, users: Complex, sensing: Complex, noise_power: float) -> Float:
    """SINR (6) of 000 of every user, linear.

    Parameters
    ----------
    channels
        h_{n,k}, errors included, [..., N, K, M].
    users, sensing
        Beams w_{c,n,k} [K, N, M] and w_{s,n} [N, M].

    Returns
    -------
    float64, shape [..., K]
    """
    heard = np.abs(np.einsum("...nkm,jnm->...kj", channels.conj(), users)) ** 2
    leaks = np.abs(np.einsum("...nkm,nm->...nk", channels.conj(), sensing)) ** 2
    wanted = np.diagonal(heard, axis1=-2, axis2=-1)
    return wanted / (heard.sum(axis=-1) - wanted + leaks.sum(axis=-2) + noise_power)


def worst_sinr_in_balls(
    channels: Complex, users: Complex, sensing: Complex, noise_power: float, radius: Float, *, stacked: bool, seed: int = 0
) -> Float:  # fmt: skip
    """Least SINR found for errors ``|e_{n,k}| <= radius_{n,k}``, or ``|e_k|`` at most their root sum of squares if stacked.

    At an error with SINR g, the error that minimises ``|(h + e)^H w_k|^2 - g (interference + noise)`` over a ball is a
    trust-region problem with a closed solution; where it is negative the SINR falls (Dinkelbach). One ball is minimised as a
    whole, so its result is the global one; the nodes' balls one after another from several starts.

    Returns
    -------
    float64, shape [K], linear
    """
    nodes, count, _ = channels.shape
    random = np.random.default_rng(seed)
    worst = np.empty(count)
    for k in range(count):
        # An error matters in the span of its node's beams alone: coordinates in that span.
        rows, h = _seen(channels[:, k], users, sensing)
        if stacked:
            whole = float(np.sqrt((radius[:, k] ** 2).sum()))
            worst[k] = _descend(
                rows, h, noise_power, k, [np.arange(h.size)], [whole], np.zeros((1, h.size), dtype=np.complex128)
            )
            continue
        size = h.size // nodes
        blocks = [np.arange(n * size, (n + 1) * size) for n in range(nodes)]
        draw = random.standard_normal((STARTS, nodes, size)) + 1j * random.standard_normal((STARTS, nodes, size))
        draw *= radius[:, k, np.newaxis] / np.maximum(np.linalg.norm(draw, axis=2, keepdims=True), 1e-300)
        draw[0] = 0.0
        worst[k] = _descend(rows, h, noise_power, k, blocks, list(radius[:, k]), draw.reshape(STARTS, -1))
    return worst


def proven_noise_in_balls(
    channels: Complex, users: Complex, sensing: Complex, sinr: float, radius: Float, *, stacked: bool
) -> Float:  # fmt: skip
    """Noise power with which every user is proven to have the SINR for all errors in the balls.

    With ``F = w_k w_k^H / Gamma - sum_j w_j w_j^H - sum_n w_s,n w_s,n^H`` the user has it at noise m where ``(h + e)^H F (h +
    e) >= m``, and for any ``lambda >= 0`` with ``F + Lambda > 0`` the left side is at least ``h^H F h - sum_n lambda_n r_n^2 -
    (F h)^H (F + Lambda)^-1 F h`` (Lagrange). That is concave in lambda and maximised here. By the S-procedure nothing is lost
    for one ball, and for a ball per node up to two nodes.

    Parameters
    ----------
    sinr
        Gamma, linear. The rest as in :func:`worst_sinr_in_balls`.

    Returns
    -------
    float64, shape [K]
        Negative where errors in the balls take the SINR without any noise.
    """
    found = np.empty(channels.shape[1])
    for k in range(len(found)):
        rows, h = _seen(channels[:, k], users, sensing)
        sign = -np.ones(len(rows))
        sign[k] = 1.0 / sinr
        form = np.einsum("b,bi,bj->ij", sign, rows, rows.conj())
        radii = np.array([np.sqrt((radius[:, k] ** 2).sum())]) if stacked else radius[:, k]
        found[k] = _withstood(form, h, np.repeat(radii, h.size // len(radii)).reshape(len(radii), -1))
    return found


def _withstood(form: Complex, h: Complex, radii: Float) -> float:
    """The largest lower bound of ``(h + e)^H F (h + e)`` over balls of radius r [balls, coordinates of a ball, all alike]."""
    blocks, least = len(radii), float(np.real(h.conj() @ form @ h))
    erring = radii.ravel() > 0.0
    if not erring.any():
        return least
    # Errors in units of their radii, the form in units of itself.
    scale = radii.ravel()[erring]
    inner = scale[:, np.newaxis] * form[np.ix_(erring, erring)] * scale
    linear = scale * (form @ h)[erring]
    block = np.repeat(np.arange(blocks), radii.shape[1])[erring]
    member = (block == np.unique(block)[:, np.newaxis]).astype(np.float64)
    unit = max(float(np.linalg.norm(linear)), float(np.abs(inner).max()), 1e-300)
    inner, linear = inner / unit, linear / unit

    def reached(multipliers: Float) -> tuple[float, float, Complex, Complex] | None:
        """The bound, its barrier, ``y = (F + Lambda)^-1 F h`` and the inverse; None outside the domain."""
        if multipliers.min() <= 0.0:
            return None
        loaded = inner + np.diag(multipliers @ member)
        try:
            root = np.linalg.inv(np.linalg.cholesky(loaded))
        except np.linalg.LinAlgError:
            return None
        inverse = root.conj().T @ root
        y = inverse @ linear
        y = y + inverse @ (linear - loaded @ y)
        missed = linear - loaded @ y
        barrier = float(np.log(multipliers).sum() - 2.0 * np.log(np.real(np.diagonal(root))).sum())
        # Where the matrix is nearly singular y has an error. Without its last term the form would be too small, and the bound
        # would claim too much.
        taken = float(np.real(linear.conj() @ y + y.conj() @ missed + missed.conj() @ inverse @ missed))
        return -float(multipliers.sum()) - taken, barrier, y, inverse

    # To the right of the maximum, inside the domain. The bound's best multipliers may lie on its border, where F + Lambda is
    # singular; with a barrier in the limit Newton's method follows a path that ends there.
    start = max(0.0, -float(np.linalg.eigvalsh(inner)[0])) + max(float(np.linalg.norm(linear)), 1e-3)
    multipliers = np.full(len(member), start)
    here = reached(multipliers)
    if here is None:
        return -np.inf
    best = here[0]
    for weight in BARRIERS:
        for _ in range(NEWTON_STEPS):
            value, barrier, y, inverse = here
            slope = member @ (np.abs(y) ** 2 + weight * np.real(np.diagonal(inverse))) - 1.0 + weight / multipliers
            bent = 2.0 * np.real(y.conj()[:, np.newaxis] * inverse * y) + weight * np.abs(inverse) ** 2
            try:
                step = np.linalg.solve(member @ bent @ member.T + np.diag(weight / multipliers**2), slope)
            except np.linalg.LinAlgError:
                break  # The inverse is too large for a step. Every value so far is a bound, the best one counts.
            gain = float(slope @ step)
            if not gain > NEARBY * weight:
                break
            length = 1.0
            while length > SHORTEST:
                there = reached(multipliers + length * step)
                if there is not None and there[0] + weight * there[1] >= value + weight * barrier + 0.1 * length * gain:
                    break
                length /= 2.0
            else:
                break
            multipliers, here = multipliers + length * step, there
            best = max(best, here[0])
    return least + unit * best


def _seen(channels: Complex, users: Complex, sensing: Complex) -> tuple[Complex, Complex]:
    """Beams [K + N, d] (users', then each node's sensing beam at its place) and the channel [d] in the beams' span, node by
    node."""
    nodes, antennas = channels.shape
    beams = np.concatenate([users.swapaxes(0, 1), sensing[:, np.newaxis]], axis=1)
    size = min(antennas, beams.shape[1])
    rows = np.zeros((len(users) + nodes, nodes, size), dtype=np.complex128)
    h = np.empty((nodes, size), dtype=np.complex128)
    for n in range(nodes):
        basis = np.linalg.svd(beams[n].T, full_matrices=False)[0][:, :size]
        own = beams[n] @ basis.conj()
        rows[: len(users), n], rows[len(users) + n, n] = own[:-1], own[-1]
        h[n] = basis.conj().T @ channels[n]
    return rows.reshape(len(rows), -1), h.reshape(-1)


def _descend(
    rows: Complex, h: Complex, noise_power: float, user: int, blocks: list[NDArray[np.intp]], radii: list[float],
    starts: Complex,
) -> float:  # fmt: skip
    """Least SINR found from starts [S, d]."""

    def ratio(errors: Complex) -> Float:
        power = np.abs((h + errors).conj() @ rows.T) ** 2
        return power[:, user] / (power.sum(axis=1) - power[:, user] + noise_power)

    errors, sign = starts.copy(), -np.ones(len(rows))
    sign[user] = 1.0
    level = ratio(errors)
    for _ in range(ROUNDS):
        before = level
        for block, radius in zip(blocks, radii, strict=True):
            scale = np.where(sign > 0, 1.0, -level[:, np.newaxis])
            here = rows[:, block]
            quadratic = np.einsum("sb,bi,bj->sij", scale, here, here.conj())
            amplitude = (h + errors).conj() @ rows.T - errors[:, block].conj() @ here.T
            linear = np.einsum("sb,bi,sb->si", scale, here, amplitude.conj())
            tried = errors.copy()
            tried[:, block] = trust_region(quadratic, linear, radius)
            lower = ratio(tried)
            better = lower < level
            errors[better], level = tried[better], np.where(better, lower, level)
        if (before - level <= SETTLED * before).all():
            break
    return float(level.min())


def trust_region(quadratic: Complex, linear: Complex, radius: float) -> Complex:
    """The e that minimises ``e^H A e + 2 Re(b^H e)`` over ``|e| <= radius``, for stacked Hermitian A [S, d, d] and b [S, d].

    With the eigenvectors of A, ``e = -(A + lambda)^-1 b`` where lambda >= max(0, -least eigenvalue) makes its norm the
    radius. In the hard case b has too little along the least eigenvector for that, and e gets the missing length along it. The
    unknown is the distance of the multiplier from the least eigenvalue: if b has almost nothing along that vector, this
    distance is far below the rounding of both.
    """
    values, vectors = np.linalg.eigh(quadratic)
    b = np.einsum("sij,si->sj", vectors.conj(), linear)
    least = values[:, 0]
    inside = np.zeros(len(values), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        free = -b / values
        convex = least > 0
        inside[convex] = np.linalg.norm(free[convex], axis=1) <= radius
    above = values - least[:, np.newaxis]
    low = np.maximum(0.0, least)
    high = low + np.linalg.norm(b, axis=1) / max(radius, 1e-300) + 1e-150
    square = np.abs(b) ** 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(100):
            middle = (low + high) / 2.0
            long = (square / (above + middle[:, np.newaxis]) ** 2).sum(axis=1) > radius**2
            low, high = np.where(long, middle, low), np.where(long, high, middle)
    e = -b / (above + high[:, np.newaxis])
    e[:, 0] = -np.exp(1j * np.angle(b[:, 0])) * np.sqrt(np.maximum(radius**2 - (np.abs(e[:, 1:]) ** 2).sum(axis=1), 0.0))
    e[inside] = free[inside]
    length = np.linalg.norm(e, axis=1, keepdims=True)
    e = np.where(length > radius, e * (radius / np.maximum(length, 1e-300)), e)
    return np.einsum("sij,sj->si", vectors, e)


def worst_sinr_under_phases(
    channels: Complex, users: Complex, sensing: Complex, noise_power: float, phase_error_rad: float, seed: int = 0
) -> Float:  # fmt: skip
    """Least SINR found for node phases ``|phi_n| <= phase_error_rad``.

    From all corners of the box and random points, one phase after another on a grid that shrinks around the least value.

    Returns
    -------
    float64, shape [K], linear
    """
    nodes = len(channels)
    parts = np.einsum("nkm,jnm->nkj", channels.conj(), users)
    leaks = (np.abs(np.einsum("nkm,nm->nk", channels.conj(), sensing)) ** 2).sum(axis=0)
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * min(nodes, 8), indexing="ij")).reshape(min(nodes, 8), -1).T
    starts = np.zeros((len(corners) + STARTS, nodes))
    starts[: len(corners), : corners.shape[1]] = corners
    starts[len(corners) :] = np.random.default_rng(seed).uniform(-1.0, 1.0, (STARTS, nodes))
    worst = np.empty(channels.shape[1])
    for k in range(len(worst)):
        # h~ = e^{j phi} h: the user receives e^{-j phi} y.
        y, phases, width = parts[:, k], phase_error_rad * starts, phase_error_rad
        level = _phase_ratio(y, phases, leaks[k] + noise_power, k)
        for _ in range(8):
            for n in range(nodes):
                grid = np.clip(phases[:, n : n + 1] + width * np.linspace(-1.0, 1.0, 21), -phase_error_rad, phase_error_rad)
                tried = np.repeat(phases[:, np.newaxis], 21, axis=1)
                tried[:, :, n] = grid
                values = _phase_ratio(y, tried, leaks[k] + noise_power, k)
                place = values.argmin(axis=1)
                found = values[np.arange(len(values)), place]
                better = found < level
                phases[better, n] = grid[np.arange(len(grid)), place][better]
                level = np.where(better, found, level)
            width /= 4.0
        worst[k] = level.min()
    return worst


def _phase_ratio(parts: Complex, phases: Float, disturbance: float, user: int) -> Float:
    power = np.abs(np.exp(-1j * phases) @ parts) ** 2
    return power[..., user] / (power.sum(axis=-1) - power[..., user] + disturbance)
