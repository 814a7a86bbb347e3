"""The largest full grid within a grid that has holes: labels are left out, and nothing is filled in."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.cells import Bool

_MOST_WORK = 4_000_000
_WORK_OF_A_CHOICE = 1_000
"""The proof is given up after so many holes looked at: some tenths of a second. A choice takes as long as a thousand holes."""

Masks = tuple[Bool, ...]


def largest_full_grid(usable: Bool) -> tuple[Masks, bool]:
    """Choose labels of each axis so that all cells of the grid between them are usable, and as many as possible.

    First the labels with the largest share of unusable cells are left out one by one, and labels that fit are taken in again.
    Then all other choices are tried that could hold more cells (branch and bound), until a bounded amount of work is done.

    Parameters
    ----------
    usable
        Array of any number of axes.

    Returns
    -------
    masks
        For each axis which of its labels are kept; all false if no cell is usable.
    proven
        Whether no full grid has more cells.
    """
    holes = np.argwhere(~usable)
    if not holes.size:
        return tuple(np.ones(n, dtype=np.bool_) for n in usable.shape), True
    greedy = _extended(usable, _thinned(usable.shape, holes))
    return _improved(usable.shape, holes, greedy)


def _cells(masks: Masks) -> int:
    return math.prod(int(m.sum()) for m in masks)


def _thinned(shape: tuple[int, ...], holes: NDArray[np.int64]) -> Masks:
    """Leave out the label with the largest share of holes, one after the other, until there are none."""
    masks = tuple(np.ones(n, dtype=np.bool_) for n in shape)
    counts = [np.bincount(holes[:, d], minlength=n) for d, n in enumerate(shape)]
    while holes.size:
        cells = _cells(masks)
        shares = [c * m.sum() / cells for c, m in zip(counts, masks, strict=True)]
        # An axis that has one label left is the last to lose it.
        axis = max(range(len(shape)), key=lambda d: (masks[d].sum() > 1, shares[d].max()))
        if masks[axis].sum() == 1:
            return tuple(np.zeros(n, dtype=np.bool_) for n in shape)
        label = int(shares[axis].argmax())
        masks[axis][label] = False
        leaves = holes[:, axis] == label
        for d, n in enumerate(shape):
            counts[d] -= np.bincount(holes[leaves, d], minlength=n)
        holes = holes[~leaves]
    return masks


def _extended(usable: Bool, masks: Masks) -> Masks:
    """Take in again, in their order, the labels whose cells are all usable."""
    if not _cells(masks):
        first = np.argwhere(usable)[:1]
        if not first.size:
            return masks
        for mask, label in zip(masks, first[0], strict=True):
            mask[label] = True
    for axis, mask in enumerate(masks):
        for label in np.flatnonzero(~mask):
            others = [np.flatnonzero(m) if d != axis else np.array([label]) for d, m in enumerate(masks)]
            if usable[np.ix_(*others)].all():
                mask[label] = True
    return masks


def _improved(shape: tuple[int, ...], holes: NDArray[np.int64], best: Masks) -> tuple[Masks, bool]:
    """Try every choice of labels that could hold more cells than the best one known.

    Of the labels of a hole at least one is left out: the i-th branch leaves out that of the i-th axis and keeps those of the
    axes before it, so that no choice is tried twice.
    """
    whole = tuple(np.ones(n, dtype=np.bool_) for n in shape)
    stack = [(whole, tuple(np.zeros(n, dtype=np.bool_) for n in shape), holes)]
    most, work = _cells(best), 0
    while stack:
        masks, bound_to_stay, left = stack.pop()
        if _cells(masks) <= most:
            continue
        work += len(left) + _WORK_OF_A_CHOICE
        if work > _MOST_WORK:
            return best, False
        if not len(left):
            best, most = masks, _cells(masks)
            continue
        hole = left[0]
        stay = bound_to_stay
        for axis, label in enumerate(hole):
            if stay[axis][label]:
                continue
            fewer = tuple(m & (np.arange(m.size) != label) if d == axis else m for d, m in enumerate(masks))
            stack.append((fewer, stay, left[left[:, axis] != label]))
            stay = tuple(s | (np.arange(s.size) == label) if d == axis else s for d, s in enumerate(stay))
    return best, True
