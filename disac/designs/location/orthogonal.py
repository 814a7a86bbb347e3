"""Orthogonal design (P.2) of 002: each subcarrier belongs to one node, and is designed by itself."""

from __future__ import annotations

from disac.designs.location.problem import DesignProblem, Part, Structure


def structure(problem: DesignProblem) -> Structure:
    """Return the structure: node l mod N alone transmits on subcarrier l (002, section IV-C)."""
    subcarriers, users = range(problem.subcarriers), tuple(range(problem.users))
    parts = tuple(Part((s,), problem.node_antennas(problem.owner(s)), users) for s in subcarriers)
    return Structure("orthogonal", parts, tuple((s,) for s in subcarriers))
