"""What the coarsest dense grid of equal accuracy would have cost, judged on the filled lattices of a refinement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.refining.boxes import Float, Whole
from pipeline.refining.known import UNKNOWN, USABLE, Kinds, back, forth
from pipeline.refining.noise import statistic
from pipeline.refining.tree import Tree


@dataclass(frozen=True)
class DenseGrid:
    """A dense grid on some labels of a lattice: the number of labels of each axis, and its cells on all slices."""

    labels: tuple[int, ...]
    cells: int


def coarsest_dense(trees: Sequence[Tree]) -> DenseGrid | None:
    """Return the dense grid with the fewest cells whose multilinear interpolant is as accurate as the refinement.

    Logarithms are interpolated if the boxes may interpolate them. The kind of every lattice point must follow from the grid:
    all grid points around it are of its own kind.

    Parameters
    ----------
    trees
        The boxes of each slice.

    Returns
    -------
    DenseGrid or None
        None if a part of the lattice is not known. The whole lattice itself is a grid.
    """
    filled = [tree.filled() for tree in trees]
    if any((kinds == UNKNOWN).any() for _, kinds in filled):
        return None
    shape, draws = trees[0].shape, trees[0].draws
    strides = [[s for s in range(1, n) if (n - 1) % s == 0] for n in shape]
    for chosen in sorted(itertools.product(*strides), key=lambda c: _points(shape, c)):
        if all(_suffices(*one, chosen, tree) for tree, one in zip(trees, filled, strict=True)):
            labels = tuple((n - 1) // s + 1 for n, s in zip(shape, chosen, strict=True))
            return DenseGrid(labels, math.prod(labels) * draws * len(trees))
    raise AssertionError("the whole lattice suffices")


def _points(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return math.prod((n - 1) // s + 1 for n, s in zip(shape, strides, strict=True))


def _suffices(values: Float, kinds: Kinds, strides: tuple[int, ...], tree: Tree) -> bool:
    """Return whether the grid of every ``strides``-th label gives all points of a lattice [*shape, draws]."""
    shape = kinds.shape[:-1]
    low: list[Whole] = [np.minimum(np.arange(n) // s * s, n - 1 - s) for n, s in zip(shape, strides, strict=True)]
    share = [(np.arange(n) - at) / s for n, at, s in zip(shape, low, strides, strict=True)]
    told, same = np.zeros(values.shape), np.ones(kinds.shape, dtype=bool)
    whole = np.where(kinds == USABLE, forth(values, tree.geometric), 0.0)
    for corner in itertools.product((0, 1), repeat=len(shape)):
        place = np.ix_(*[at + s * up for at, s, up in zip(low, strides, corner, strict=True)])
        weight = np.ones((1,) * len(shape))
        for axis, up in enumerate(corner):
            own = share[axis] if up else 1.0 - share[axis]
            weight = weight * own.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        told += weight[..., np.newaxis] * whole[place]
        same &= (kinds[place] == kinds) | (weight == 0.0)[..., np.newaxis]
    if not same.all():
        return False
    now, before = statistic(values, kinds), statistic(back(told, tree.geometric), kinds)
    usable = (kinds == USABLE).any(axis=-1)
    return bool((np.abs(before - now)[usable] <= tree.tolerance.allowed(now)[usable]).all())
