"""Maps of the position error bound: CPU time per point beside the stacked features, and of all divisions beside a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.registry import Row
from disac.metrics.position_error_map import AccessPoints, position_error_map_m, split_position_error_m

Float = NDArray[np.float64]

SIDE_M = 1000.0
REPEATS, TURNS = 5, 12


def network(access_points: int) -> AccessPoints:
    """Access points with eight antennas anywhere in a square kilometre."""
    rng = np.random.default_rng(1)
    positions = rng.uniform(0.0, SIDE_M, (access_points, 2))
    return AccessPoints(positions, rng.uniform(0.0, 2.0 * np.pi, access_points), 8, 3.5e9)


def stacked(net: AccessPoints, points: Float, transmitters: list[int], receivers: list[int], snr_m4: float) -> Float:
    """The closed form in the plain way: nine numbers of each access point and point, stacked, and their sums over roles."""
    k0, n = net.wavenumber_rad_m, net.antennas
    v = net.positions_m[:, np.newaxis] - points
    d = np.sqrt((v**2).sum(-1))
    w = 1.0 / d**2
    facing = -(v[..., 0] * np.cos(net.boresights_rad)[:, None] + v[..., 1] * np.sin(net.boresights_rad)[:, None]) / d
    turn = (np.pi * facing / d**2)[..., np.newaxis] * np.stack([v[..., 1], -v[..., 0]], axis=-1)
    g = k0 * v / d[..., np.newaxis] + (n - 1) / 2.0 * turn
    spread = (n**2 - 1) / 12.0
    pairs = ((0, 0), (0, 1), (1, 1))
    columns = [w, w * g[..., 0], w * g[..., 1]]
    columns += [w * g[..., i] * g[..., j] for i, j in pairs] + [w * spread * turn[..., i] * turn[..., j] for i, j in pairs]
    features = np.stack(columns, axis=-1)
    sums = [features[role].sum(axis=0) for role in (transmitters, receivers)]
    total = np.zeros((3, len(points)))
    for own, other in (sums, sums[::-1]):
        for number, (i, j) in enumerate(pairs):
            scatter = own[:, 3 + number] - own[:, 1 + i] * own[:, 1 + j] / own[:, 0]
            total[number] += other[:, 0] * (scatter + own[:, 6 + number])
    xx, xy, yy = 2.0 * snr_m4 * total
    return np.sqrt((xx + yy) / (xx * yy - xy**2))


def _best(work: Callable[[], object], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def error_map() -> Iterator[Row]:
    """A map of 65 536 points; the stacked form goes through them in pieces of the size that suits it best.

    Both take turns, so that other programs of the machine disturb both alike; each counts with its fastest turn.
    """
    net, points = network(12), np.random.default_rng(2).uniform(0.0, SIDE_M, (65_536, 2))
    sending, hearing = list(range(6)), list(range(6, 12))

    def pieces(size: int) -> Float:
        parts = np.array_split(points, len(points) // size)
        return np.concatenate([stacked(net, part, sending, hearing, 1e6) for part in parts])

    def ours() -> Float:
        return position_error_map_m(net, points, tuple(sending), tuple(hearing), 1e6)

    fast = plain = float("inf")
    for _ in range(TURNS):
        fast = min(fast, _best(ours, 2))
        plain = min(plain, *(_best(lambda size=size: pieces(size), 1) for size in (1000, 2000, 4096, 8192)))  # type: ignore[misc]
    worst = float(np.abs(ours() / pieces(1000) - 1.0).max())
    scale = 1e9 / len(points)
    yield Row("position error map", fast * scale, plain * scale, "ns CPU a point", f"stacked features, equal to {worst:.0e}")


def all_splits() -> Iterator[Row]:
    """Every division of 12 and of 16 access points at 625 positions."""
    line = np.arange(20.0, SIDE_M, 40.0)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    for count, bar, repeats in ((12, 0.3, REPEATS), (16, 4.0, 1)):
        masks = (np.arange(1, 2**count - 1)[:, np.newaxis] >> np.arange(count) & 1).astype(bool)
        net = network(count)
        seconds = _best(lambda net=net, masks=masks: split_position_error_m(net, points, masks, 1e6), repeats)  # type: ignore[misc]
        yield Row(f"position errors of {len(masks)} divisions", seconds, bar, "s CPU", "the bar, at 625 positions")


BENCHMARKS = {"bounds-map": error_map, "bounds-splits": all_splits}
