"""Search for the lobe of the coherent likelihood that holds a target, over all of the region that the coarse map leaves open.

Lobes are half a wavelength to a wavelength apart, and the region is metres wide, so that a descent from the coarse position
ends in a wrong lobe. In a tile small against the curvature of the waves the image of each pair turns as a plane wave,
``z(p + delta) = z(p) e^{-j g.delta}``, and the sum over pairs at all points of a lattice is one product of two matrices of
exponentials: ``F = E_x diag(c) E_y``. The lattice follows from the spread of the ``g``, the score is exact at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, distances_m, factors, seen_gradients, unit_images
from disac.estimators.dmimo.fit import Amplitudes, fit
from disac.estimators.dmimo.maps import exact_map, peaks

_TILE_M = 2.0
_BEND_RAD = 0.35
"""Departure from plane waves that is let pass at the edge of a tile."""
_NARROWEST_M, _WIDEST_M = 0.25, 60.0
_LATTICE_LOSS = 0.12
"""Share of a peak that may be lost midway between points of the lattice."""
_KEPT = 0.75
_REFINED = 96
_REFINE_STEPS = 4
_LEAST_ENERGY = 0.1
_PLAUSIBLE = 12.0


@dataclass(frozen=True)
class Region:
    """Rectangle around a coarse position, along the axes of its error.

    Attributes
    ----------
    centre_m
        Shape [2], m.
    axes
        Directions of the sides as columns, shape [2, 2].
    half_m
        Half of each side, shape [2], m.
    steepness
        Largest eigenvalue of the coarse information, 1/m^2: by how much the coarse likelihood may change within a tile.
    """

    centre_m: Float
    axes: Float
    half_m: Float
    steepness: float


def region_of(centre_m: Float, information: Float, deviations: float = 6.0, least_m: float = _NARROWEST_M) -> Region:
    """Region of so many standard deviations about a coarse position with the given information [2, 2]."""
    value, axes = np.linalg.eigh(information)
    value = np.maximum(value, 1e-12)
    half = np.clip(deviations / np.sqrt(value), least_m, _WIDEST_M)
    return Region(centre_m, axes, half, float(value[-1]))


@dataclass(frozen=True)
class Lobes:
    """Places of the likeliest lobes [K, 2], m, likeliest first, their costs for one target alone [K], and the points tried."""

    positions_m: Float
    cost: Float
    points: int


def search_lobes(
    model: EchoModel,
    samples: Complex,
    region: Region,
    amplitudes: Amplitudes,
    most: int = 8,
    *,
    kept: float = _KEPT,
    plausible: float = _PLAUSIBLE,
) -> Lobes:
    """The likeliest lobes of one target in a region.

    Parameters
    ----------
    samples
        Statistics with the other targets taken away, [Q, M_r, N, W].
    amplitudes
        What is known of the gains: ``structured``, ``nonnegative`` or ``sign-free``.
    most
        Number of lobes to return.
    kept
        Share of the highest score from which on peaks of the lattice are refined.
    plausible
        Tiles whose coarse likelihood is so much below the best one are left out, beyond what their size explains; infinite
        where the echoes of more than one target are left.
    """
    centres, halves = _tiles(model, region, doubled=amplitudes == "sign-free")
    z, norms = unit_images(model, samples, centres)
    overlap = model.groups[1] > 1
    likelihood = exact_map(model, samples, centres) if overlap else np.sum(z.real**2 + z.imag**2, axis=(1, 2, 3))
    margin = (np.sqrt(plausible) + np.hypot(*halves) * np.sqrt(0.5 * region.steepness)) ** 2
    order = np.argsort(-likelihood, kind="stable")
    order = order[likelihood[order] >= likelihood[order[0]] - margin]
    weights, turns = _waves(model, centres[order], z[order], norms[order], amplitudes)
    cross = _cross_energy(model, centres[order], region.axes) if overlap and amplitudes == "structured" else None
    found, scores, points, best = [], [], 0, 0.0
    for number, tile in enumerate(order):
        weight, turn = weights[number], turns[number] @ region.axes
        axes = _lattice(weight, turn, halves)
        field = _field(weight, turn, axes)
        score = field.real**2 + field.imag**2
        if amplitudes == "sign-free":
            score = 0.5 * (np.float32(likelihood[tile]) + np.sqrt(score))
        if cross is not None:
            score /= np.maximum(1.0 + _field(cross[0][number], cross[1][number], axes).real, _LEAST_ENERGY)
        points += score.size
        best = max(best, float(score.max()))
        top = peaks(score.ravel(), score.shape, kept * best, _REFINED)
        if top.size:
            x, y = np.divmod(top, score.shape[1])
            found.append(centres[tile] + np.stack([axes[0][x], axes[1][y]], axis=1) @ region.axes.T)
            scores.append(score.ravel()[top])
    places, heights = np.concatenate(found), np.concatenate(scores)
    order = np.argsort(-heights, kind="stable")
    order = order[heights[order] >= kept * best][:_REFINED]
    refined = fit(model, samples, places[order][:, np.newaxis], amplitudes, most_steps=_REFINE_STEPS)
    chosen = distinct(refined.positions_m[:, 0], refined.cost, 0.05 * model.wavelength_m, most)
    return Lobes(refined.positions_m[chosen, 0], refined.cost[chosen], points)


def distinct(positions_m: Float, cost: Float, apart_m: float, most: int) -> NDArray[np.intp]:
    """Numbers of the cheapest positions that are apart from each other, cheapest first."""
    kept: list[int] = []
    for number in np.argsort(cost, kind="stable"):
        if all(np.hypot(*(positions_m[number] - positions_m[other])) >= apart_m for other in kept):
            kept.append(int(number))
            if len(kept) == most:
                break
    return np.array(kept, dtype=np.intp)


def _tiles(model: EchoModel, region: Region, *, doubled: bool) -> tuple[Float, Float]:
    """Centres of tiles that cover a region [C, 2] and the halves of their sides [2], m."""
    away = distances_m(model, region.centre_m)
    reach = np.maximum(away - np.hypot(*region.half_m), 0.05 * away)
    near = 1.0 / reach[list(model.transmitters)].min() + 1.0 / reach[list(model.receivers)].min()
    bend = 0.5 * model.wavenumber * near * (2.0 if doubled else 1.0)
    side = min(_TILE_M, float(np.sqrt(2.0 * _BEND_RAD / bend)))
    counts = np.maximum(1, np.ceil(2.0 * region.half_m / side)).astype(int)
    halves = region.half_m / counts
    lines = [-half + own * (2 * np.arange(count) + 1) for half, own, count in zip(region.half_m, halves, counts, strict=True)]
    x, y = np.meshgrid(*lines, indexing="ij")
    return region.centre_m + np.stack([x.ravel(), y.ravel()], axis=1) @ region.axes.T, halves


def _waves(model: EchoModel, centres: Float, z: Complex, norms: Float, amplitudes: Amplitudes) -> tuple[Complex, Float]:
    """Weights of the pairs [C, pairs] and the gradients of their phases [C, pairs, 2], rad/m."""
    slope, turn = seen_gradients(model, centres)
    # Phase of the image's response at the middle of the arrays.
    each = -model.wavenumber * slope + 0.5 * (model.antennas - 1) * turn
    send, get = each[:, list(model.transmitters)], each[:, list(model.receivers)]
    pairs = (send[:, :, np.newaxis] + get[:, np.newaxis]).reshape(len(centres), -1, 2)
    flat = z.reshape(len(centres), -1)
    if amplitudes == "sign-free":
        return flat**2, 2.0 * pairs
    if amplitudes == "nonnegative":
        weight = np.abs(flat)
    else:
        away = distances_m(model, centres)
        law = 1.0 / (away[:, list(model.transmitters), np.newaxis] * away[:, np.newaxis, list(model.receivers)])
        weight = (law * norms.reshape(len(centres), -1, 1)).reshape(len(centres), -1)
    return weight / np.linalg.norm(weight, axis=1, keepdims=True) * flat, pairs


def _field(weight: Complex, turn: Float, axes: list[Float]) -> NDArray[np.complex64]:
    """Sum of plane waves at all points of a lattice: one product of two matrices."""
    left = np.exp(-1j * axes[0][:, np.newaxis] * turn[:, 0]).astype(np.complex64) * weight.astype(np.complex64)
    return left @ np.exp(-1j * turn[:, 1][:, np.newaxis] * axes[1]).astype(np.complex64)


def _cross_energy(model: EchoModel, centres: Float, axes: Float) -> tuple[Complex, Float]:
    """How the energy of all transmitters' echoes together departs from the sum of their energies, as waves about each centre.

    Returns
    -------
    weights, turns
        complex128 [C, waves] and float64 [C, waves, 2] along the axes; the real part of their sum is the relative excess.
    """
    _, transmit = factors(model, centres[:, np.newaxis], carrier=True, weighted=True)
    sent = transmit[..., 0, 0, :]  # [C, Q, J, W]
    gram = sent.conj() @ sent.swapaxes(-1, -2)
    first, second = np.triu_indices(gram.shape[-1], 1)
    total = np.einsum("cqjj->c", gram).real
    slope, turn = seen_gradients(model, centres)
    each = (-model.wavenumber * slope + 0.5 * (model.antennas - 1) * turn)[:, list(model.transmitters)] @ axes
    each = each.reshape(len(centres), *model.groups, 2)
    weights = 2.0 * gram[..., first, second] / total[:, np.newaxis, np.newaxis]
    # The inner product of two responses turns by the difference of their phases; images turn the other way.
    turns = each[:, :, first] - each[:, :, second]
    return weights.reshape(len(centres), -1), turns.reshape(len(centres), -1, 2)


def _lattice(weight: Complex, turn: Float, halves: Float) -> list[Float]:
    """Points along both sides of a tile, so close that no peak loses more than its share between them."""
    share = np.abs(weight) / np.abs(weight).sum()
    spread = np.sqrt(share @ (turn - share @ turn) ** 2) + 1e-9
    pitch = 2.0 * np.sqrt(0.5 * _LATTICE_LOSS) / spread
    counts = np.ceil(2.0 * halves / pitch).astype(int) + 1
    return [np.linspace(-half, half, int(count)) for half, count in zip(halves, counts, strict=True)]
