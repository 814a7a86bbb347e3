"""Vertices of half-spaces against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from disac.optim.polytope import polytope_vertices


def brute_force(normals: np.ndarray, supports: np.ndarray) -> np.ndarray:
    """Every point where as many planes meet as there are coordinates, if it lies in all half-spaces."""
    nodes = normals.shape[1]
    rows, values = np.vstack([normals, -np.eye(nodes)]), np.concatenate([supports, np.zeros(nodes)])
    found = []
    for chosen in itertools.combinations(range(len(rows)), nodes):
        part = rows[list(chosen)]
        if abs(np.linalg.det(part)) > 1e-12:
            point = np.linalg.solve(part, values[list(chosen)])
            if (rows @ point <= values + 1e-9 * np.abs(supports).max()).all():
                found.append(point)
    return np.array(found)


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_vertices_are_those_of_brute_force(nodes: int, scale: float) -> None:
    random = np.random.default_rng(nodes)
    for _ in range(10):
        normals = np.vstack([np.eye(nodes), random.uniform(0.0, 1.0, (3, nodes))])
        supports = scale * np.concatenate([random.uniform(0.5, 1.0, nodes), random.uniform(0.8, 1.5, 3)])
        found = polytope_vertices(normals, supports)
        told = brute_force(normals, supports)
        assert (found >= 0).all()
        assert (found @ normals.T <= supports * (1 + 1e-9)).all()
        for point in told:
            assert np.abs(found - point).max(axis=1).min() < 1e-9 * scale
        for point in found:
            assert np.abs(told - point).max(axis=1).min() < 1e-9 * scale
