"""How far the parabola through three samples on a line may be off, judged by the slopes around them.

The function on the line is taken for one of steady or steadily changing curvature, with one kink between the middle and the
next sample, at a length ``h`` from it. At a sample the slope jumps by the curvature times the distance of the next samples,
and the kink adds ``near`` to the jump at the middle and ``far`` to that at the next sample. A straight line between them misses
the kink by ``h near far / (near + far)``, wherever it lies between them; if ``far`` is not known, by at most ``h near``.
The curvature comes from samples beyond the two, so that the kink does not change it: from one side, from the other, or from
both, whichever agrees best. Without any of them all is taken for a kink. If ``near`` and ``far`` differ in sign, there is more
than one kink, and the larger of them counts with ``h / 2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.refining.boxes import Float

BEYOND = 2
"""Points that a line needs beyond the samples of its box, on each side."""
_GAIN = float(np.sqrt(20.0))
"""Factor by which independent noise of the values enters ``h near`` on equally spaced points."""
Band = Callable[[float], float]
"""Gives the half width of the noise of a sum of values from the root of the sum of its squared weights."""


@dataclass(frozen=True)
class Lines:
    """Samples on parallel lines.

    Parameters
    ----------
    places
        Places of the points in lattice intervals, ascending [lines, points]; NaN for a point that is not known.
    values
        Values in allowed errors [lines, points], NaN where the place is.
    """

    places: Float
    values: Float

    def mirrored(self) -> Lines:
        """Return the lines from the other end."""
        return Lines(-self.places[:, ::-1], self.values[:, ::-1])


def half_error(lines: Lines, band: Band) -> Float:
    """Return an estimate of the error between the middles and the next samples of lines, in allowed errors [lines].

    Parameters
    ----------
    lines
        Lines whose points are: two before the box, its low end, its middle, its high end, two beyond it.
    band
        Noise within which a kink is taken for none.
    """
    at = BEYOND + 1  # the number of the middle; a jump has the number of the point before its own
    gaps = np.diff(lines.places, axis=1)
    reach = 0.5 * (gaps[:, 1:] + gaps[:, :-1])
    jumps = np.diff(np.diff(lines.values, axis=1) / gaps, axis=1)
    before, behind = jumps[:, at - 2] / reach[:, at - 2], jumps[:, at + 1] / reach[:, at + 1]
    way = gaps[:, at - 1 : at + 2]
    share = way.cumsum(axis=1) / way.sum(axis=1, keepdims=True)
    changing = [before + share[:, i] * (behind - before) for i in (0, 1)]
    none = np.where(np.isnan(before) & np.isnan(behind), 0.0, np.nan)
    found = np.full(len(gaps), np.nan)
    for middle, end in ((before, before), (behind, behind), changing, (none, none)):
        kinks = jumps[:, at - 1 : at + 1] - np.stack([middle, end], axis=1) * reach[:, at - 1 : at + 1]
        kinks *= gaps[:, at, np.newaxis]
        kinks[np.abs(kinks) <= band(_GAIN)] = 0.0
        # The parabola bows beside a kink; of a cubic function it misses its third derivative times a product of distances.
        arms, length = gaps[:, at - 1] + gaps[:, at], gaps[:, at]
        bow = 0.25 * length / arms * np.abs(kinks[:, 0])
        found = np.fmin(found, _of_kink(kinks) + bow + arms * length * np.abs(end - middle) / 24.0)
    return found


def _of_kink(kinks: Float) -> Float:
    """Return by how much a straight line misses kinks [lines], from what they add to both jumps, times the length."""
    near, far = np.abs(kinks).T
    both = near + far
    one = np.divide(near * far, both, out=np.zeros(len(both)), where=both > 0.0)
    between = np.where(kinks[:, 0] * kinks[:, 1] >= 0.0, one, 0.5 * np.maximum(near, far))
    return np.where(np.isnan(far), near, between)
