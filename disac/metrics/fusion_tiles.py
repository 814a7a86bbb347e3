"""A search over tiles in which receivers send scores, and which finds what a processor with all data finds; ours on 004.

The coherent score at a place is ``|sum_r f_r|^2`` with ``f_r = sum_t w_tr z_tr e^{-j g_tr . offset}``: ``z`` are a receiver's
matched-filter outputs at the middle of a tile, and ``g`` the gradients of their phases, which are linear within a tile.
Whatever the offset, ``|f_r|`` is at most ``sum_t w_tr |z_tr|``. Receivers send this one number for each tile, rounded up. The
processor asks for the outputs of the most promising tiles, one after the other, until no other tile can hold a larger score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class TileSearch:
    """``tile`` and ``offset_m`` [2] of the largest ``score`` on the grid of all tiles; ``opened`` tiles of ``tiles``.

    ``bits`` that all receivers have sent: one score per tile and receiver, and the outputs of opened tiles.
    """

    tile: int
    offset_m: Float
    score: float
    opened: int
    tiles: int
    bits: int


def tile_scores(outputs: Complex, weights: Float, gradients: Float, across_m: Float) -> Float:
    """Coherent score ``|sum w z e^{-j g . offset}|^2 / sum w^2`` on a square grid around the middle of one tile.

    The exponential is a product of one factor per axis, so that the grid is one matrix product.

    Parameters
    ----------
    outputs, weights
        Of each pair, [T, R].
    gradients
        Of the phase of each pair's template, [T, R, 2], rad/m.
    across_m
        Offsets along each axis, [Q].

    Returns
    -------
    float64, shape [Q, Q]
        First x, then y.
    """
    along_x, along_y = (np.exp(-1j * np.outer(across_m, gradients[..., axis].ravel())) for axis in (0, 1))
    field = (along_x * (weights * outputs).ravel()) @ along_y.T
    return np.abs(field) ** 2 / float((weights**2).sum())


def search_tiles(
    outputs: Complex, weights: Float, gradients: Float, across_m: Float, *, score_bits: int = 8, output_bits: int = 32
) -> TileSearch:  # fmt: skip
    """The largest score over all tiles, with as few outputs from the receivers as proves it.

    Parameters
    ----------
    outputs, weights
        Of each pair at the middle of each tile, [C, T, R]; each receiver holds its own.
    gradients
        [C, T, R, 2], rad/m.
    across_m
        The same offsets along both axes in every tile, [Q].
    score_bits
        Of a receiver's bound on its part of the score of a tile, of up to its largest one, rounded up: few bits open more tiles
        and change no result.
    output_bits
        Of each of the two real numbers of an output.

    Returns
    -------
    TileSearch
        Tile and offset are those of the search over all tiles; of equal scores the first.
    """
    tiles, transmitters, receivers = outputs.shape
    norm = np.sqrt((weights**2).sum(axis=(1, 2)))
    parts = (weights * np.abs(outputs)).sum(axis=1) / norm[:, np.newaxis]
    levels, largest = 2**score_bits - 1, parts.max(axis=0)
    # A margin for rounding: a bound that falls short by the last digit would be none.
    raised = np.ceil(parts / np.where(largest > 0, largest, 1.0) * levels) * largest / levels
    bounds = raised.sum(axis=1) ** 2 * (1.0 + 1e-9)
    best, place, offset, opened = -np.inf, 0, np.zeros(2), 0
    for tile in np.argsort(-bounds, kind="stable"):
        if bounds[tile] < best:
            break
        scores = tile_scores(outputs[tile], weights[tile], gradients[tile], across_m)
        found, opened = float(scores.max()), opened + 1
        if found > best or (found == best and tile < place):
            best, place = found, int(tile)
            offset = across_m[list(np.unravel_index(int(np.argmax(scores)), scores.shape))]
    bits = tiles * receivers * score_bits + opened * receivers * transmitters * 2 * output_bits
    return TileSearch(place, offset, best, opened, tiles, bits)
