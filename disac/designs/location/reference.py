"""Reference solver: the designs' semidefinite programs in CVXPY, in the decorrelated form.

General solvers fail on these programs as they are printed: their numbers differ by many orders of magnitude. Three changes of
variables make the numbers alike and keep the optimum. Powers are counted in units of the limit. Nuisance parameters are
decorrelated from the location at the uniform design, so that the Fisher information there is the identity. The coordinates of
each stream shrink the directions that the other users hear. One linear matrix inequality ``[[F', S], [S^T, T]] >= 0`` then
bounds the CRB by tr T.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disac.designs.location.problem import SENSING, DesignProblem, Part, Structure
from disac.optim.conic import solve

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """Answer of the solver, in physical units.

    ``streams`` [U, L, D, D]; ``power_dual`` lambda [D], or [L, D] under a flat spectrum; ``sinr_dual`` mu [U, L];
    ``fisher_dual`` Y [P, 2K], where the method has one; ``node_dual`` Z [L, N, M_t, M_t] for a loose structure. ``outcome`` is
    the solver's status.
    """

    outcome: str
    streams: Complex | None
    power_dual: Float | None
    sinr_dual: Float | None
    iterations: int
    seconds: float
    fisher_dual: Float | None = None
    node_dual: Complex | None = None


def hermitian_basis(size: int) -> Complex:
    """Real coordinates of Hermitian matrices: ``X = sum_k x_k E_k``, shape [size^2, size, size].

    Diagonal entries, then real parts, then imaginary parts of the upper triangle.
    """
    rows, columns = np.triu_indices(size, 1)
    pairs = len(rows)
    basis = np.zeros((size**2, size, size), dtype=np.complex128)
    basis[np.arange(size), np.arange(size), np.arange(size)] = 1.0
    real, imaginary = size + np.arange(pairs), size + pairs + np.arange(pairs)
    basis[real, rows, columns] = basis[real, columns, rows] = 1.0
    basis[imaginary, rows, columns], basis[imaginary, columns, rows] = 1j, -1j
    return basis


def inner_products(matrices: Complex | Float, basis: Complex) -> Float:
    """``Re tr(A E_k)`` for stacked matrices A: shape [..., size^2]."""
    return np.real(np.tensordot(matrices, basis, axes=([-2, -1], [2, 1])))


def interference_scale(sinr: float) -> float:
    """Power by which to shrink directions that interfered users hear: the SINR target's decade, at least 1.

    Near the largest SINR a stream has only about 1/Gamma of its power in these directions. Without scaling the solver failed or
    lost 0.1 to 3 % on most such cells. With a scale far beyond Gamma it lost as much at low targets. The scale goes by decades,
    so that a program compiled for one target serves its neighbours.
    """
    return float(10.0 ** max(0, math.floor(math.log10(sinr))))


def quiet_coordinates(basis: Complex, heard: Complex, scale: float) -> Any:
    """Change of coordinates ``X = T X' T^H``, ``T = (I + kappa sum_h h h^H / |h|^2)^{-1/2}``, that leaves the cone alone.

    Parameters
    ----------
    basis
        Hermitian basis [size^2, size, size].
    heard
        Channels h that the stream should not reach, one per row, shape [channels, size].
    scale
        kappa.

    Returns
    -------
    scipy.sparse.csr_array, shape [size^2, size^2]
        Real coordinates of X from those of X'.
    """
    from scipy import sparse

    unit = heard / np.linalg.norm(heard, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.eye(basis.shape[1]) + scale * (unit.T @ unit.conj()))
    root = (vectors / np.sqrt(values)) @ vectors.conj().T
    images = inner_products(root @ basis @ root.conj().T, basis).T
    images /= np.einsum("kij,kji->k", basis, basis).real[:, np.newaxis]
    return sparse.csr_array(np.where(np.abs(images) > 1e-14, images, 0.0))


def power_limits_of(problem: DesignProblem, parts: Sequence[Part], size: int) -> tuple[Any, Float]:
    """Power that the covariances use of each limit, and the limit itself, in units of the power allowed to an antenna.

    Parameters
    ----------
    parts
        One part for each covariance. All parts have the same number of antennas.
    size
        Antennas of a part, d.

    Returns
    -------
    taken, allowed
        A sparse array [limits, parts d^2] that acts on the real coordinates (:func:`hermitian_basis`) of all covariances, and
        shape [limits]. Under a flat spectrum the limits are those of the first subcarrier, then of the next.
    """
    from scipy import sparse

    flat, budgets = problem.spectrum == "flat", len(problem.row_antennas)
    limits = np.tile(problem.row_antennas / problem.subcarriers, problem.subcarriers) if flat else problem.row_antennas
    entries: dict[tuple[int, int], int] = {}
    for p, part in enumerate(parts):
        for subcarrier in part.subcarriers:
            for i, row in enumerate(problem.power_rows[part.antennas]):
                place = int(row) + (budgets * subcarrier if flat else 0), p * size**2 + i
                entries[place] = entries.get(place, 0) + 1
    rows, columns = (np.array(index) for index in zip(*entries, strict=True))
    shape = (len(limits), len(parts) * size**2)
    taken = sparse.csr_array((np.array(list(entries.values()), dtype=np.float64), (rows, columns)), shape)
    return taken, limits


def by_antenna(problem: DesignProblem, multipliers: Float) -> Float:
    """Multipliers of the limits of :func:`power_limits_of` for each antenna, negative ones set to zero: [D] or [L, D]."""
    rows = np.maximum(multipliers, 0.0).reshape(*problem.power_dual_shape[:-1], -1)
    spread: Float = rows[..., problem.power_rows]
    return spread


@dataclass(frozen=True)
class _Decorrelation:
    """``F' = T F T^T`` is the identity at the uniform design; the CRB is ``scale_m2 tr(S^T F'^-1 S)``."""

    transform: Float
    selection: Float
    scale_m2: float


def decorrelate(information: Float, location_entries: int) -> _Decorrelation:
    """Decorrelate nuisances from the location entries of a Fisher information.

    With F = [[A, B], [B^T, C]] and ``E = A - B C^-1 B^T``: ``T = [[W, -W B C^-1], [0, D]]``, W and D the inverse Cholesky
    factors of E and C.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the location cannot be identified at this design.
    """
    n = location_entries
    scale = 1.0 / np.sqrt(np.diag(information))
    scaled = information * np.outer(scale, scale)
    a, b, c = scaled[:n, :n], scaled[:n, n:], scaled[n:, n:]
    coupling = np.linalg.solve(c, b.T).T
    w = np.linalg.inv(np.linalg.cholesky(a - coupling @ b.T))
    d = np.linalg.inv(np.linalg.cholesky(c))
    transform = np.block([[w, -w @ coupling], [np.zeros((len(c), n)), d]]) * scale
    selection = transform[:, :n]
    scale_m2 = float(np.sum(selection**2))
    return _Decorrelation(transform, selection / np.sqrt(scale_m2), scale_m2)


@dataclass(frozen=True)
class _Compiled:
    """A CVXPY problem with its parameters and variables; ``whole`` and ``held`` are for a loose structure."""

    program: Any
    streams: Any
    inverse_sinr: Any
    power: Any
    sinr: Any
    whole: Any
    held: Any


class CrbProgram:
    """The design's semidefinite program. It is compiled once for each decade of SINR targets."""

    def __init__(self, problem: DesignProblem, structure: Structure) -> None:
        self._problem, self._structure = problem, structure
        # Parts that carry users' streams, and parts in the objective. The two differ only for a loose structure.
        self._parts = [part for part in structure.parts if not structure.loose or SENSING not in part.users]
        self._judged = [part for part in structure.parts if not structure.loose or SENSING in part.users]
        self._size, size = len(self._parts[0].antennas), len(self._judged[0].antennas)
        if any(len(p.antennas) != n for parts, n in ((self._parts, self._size), (self._judged, size)) for p in parts):
            raise NotImplementedError("the reference solver takes covariances of one size only")
        self._programs: dict[float, _Compiled] = {}
        self._basis, self._judged_basis = hermitian_basis(self._size), hermitian_basis(size)
        uniform = structure.objective_covariances(structure.uniform_covariances(problem))
        self._decorrelation = decorrelate(problem.information(uniform), 2 * problem.targets)

    @cached_property
    def _coefficients(self) -> Float:
        """Upper triangle of F' per real coordinate of each part's covariance, [P(P+1)/2, parts, d^2]."""
        problem, d = self._problem, self._problem.derivatives
        derivatives = np.tensordot(self._decorrelation.transform, d, axes=1) * np.sqrt(problem.per_antenna_power)
        parameters, subcarriers = len(d), problem.subcarriers
        rows, columns = np.triu_indices(parameters)
        weight = 2.0 * subcarriers / problem.sensing.noise_power
        parts, basis = self._judged, self._judged_basis
        own = np.empty((len(rows), len(parts), len(basis)))
        for p, part in enumerate(parts):
            here, mine = list(part.subcarriers), part.antennas
            block = derivatives[:, :, here][..., mine].swapaxes(1, 2).reshape(parameters, len(here), -1, len(mine))
            seen = problem.attenuation[here][:, mine[:, np.newaxis], mine]
            gram = np.einsum("asri,bsrj,sij->abij", block.conj(), block, seen, optimize=True)
            own[:, p] = weight * inner_products(gram[rows, columns], basis)
        shared = np.empty_like(own)
        for p, part in enumerate(parts):
            members = self._structure.share_of[part.subcarriers[0]]
            near = [q for q, o in enumerate(parts) if o.subcarriers[0] in members]
            same = [q for q in near if np.array_equal(parts[q].antennas, part.antennas)]
            shared[:, p] = own[:, same].mean(axis=1)
        return shared

    def _channel_rows(self, heard: Sequence[tuple[Part, int, int]]) -> Float:
        """Real coordinates of ``sum h h^H`` in units of noise to power, one row for each (part, user, subcarrier)."""
        problem = self._problem
        unit = problem.noise_power / problem.subcarriers / problem.per_antenna_power
        vectors = [self._structure.channel_vectors(problem, user, part, subcarrier) for part, user, subcarrier in heard]
        return np.array([inner_products((h.T @ h.conj()) / unit, self._basis) for h in vectors])

    @cached_property
    def _streams(self) -> list[tuple[int, int]]:
        """(number of a part, user) of every covariance."""
        return [(p, user) for p, part in enumerate(self._parts) for user in part.users]

    def _coordinates(self, scale: float) -> Any:
        """Coordinates of all streams from the solver's, block by block."""
        from scipy import sparse

        problem, blocks = self._problem, []
        for p, user in self._streams:
            part = self._parts[p]
            others = [
                self._structure.channel_vectors(problem, v, part, s)
                for v in range(problem.users) for s in part.subcarriers if v != user
            ]  # fmt: skip
            blocks.append(quiet_coordinates(self._basis, np.concatenate([np.zeros((0, self._size)), *others]), scale))
        return sparse.block_diag(blocks, format="csr")

    def _variables(self, scale: float) -> tuple[Any, list[Any]]:
        """Real coordinates of all streams [streams, d^2], and the constraints that their matrices are semidefinite."""
        import cvxpy as cp

        size, count = self._size, len(self._streams)
        scaled = cp.Variable((count, size**2))
        streams = cp.reshape(self._coordinates(scale) @ cp.vec(scaled, order="C"), scaled.shape, order="C")
        embed = real_embedding(self._basis)
        return streams, [cp.reshape(embed @ scaled[i], (2 * size, 2 * size), order="C") >> 0 for i in range(count)]

    def _program(self, scale: float) -> _Compiled:
        import cvxpy as cp
        from scipy import sparse

        problem, parts = self._problem, self._parts
        users, count = problem.users, len(self._streams)
        streams, constraints = self._variables(scale)
        inverse_sinr = cp.Parameter(nonneg=True)
        of_part = sparse.csr_array((np.ones(count), ([p for p, _ in self._streams], np.arange(count))), (len(parts), count))
        covariances = of_part @ streams
        whole, held = covariances, None
        if self._structure.loose:
            whole, held, definite = self._whole(covariances)
            constraints += [held, *definite]
        taken, limits = power_limits_of(problem, self._judged, self._judged_basis.shape[1])
        power = taken @ cp.vec(whole, order="C") <= limits
        # A user receives the parts of its subcarrier; its wanted signal is its own streams in them.
        every = [(p, u, s) for p, part in enumerate(parts) for u in range(users) for s in part.subcarriers]
        own = [(i, u, s) for i, (p, u) in enumerate(self._streams) if u != SENSING for s in parts[p].subcarriers]

        def at_users(terms: list[tuple[int, int, int]], rows: Float, of: Any) -> Any:
            entry = np.arange(len(terms))
            chosen = sparse.csr_array((np.ones(len(terms)), (entry, [i for i, _, _ in terms])), (len(terms), of.shape[0]))
            row = [s * users + u for _, u, s in terms]
            add = sparse.csr_array((np.ones(len(terms)), (row, entry)), (problem.subcarriers * users, len(terms)))
            return add @ cp.sum(cp.multiply(rows, chosen @ of), axis=1)

        heard = at_users(every, self._channel_rows([(parts[p], u, s) for p, u, s in every]), covariances)
        mine = [(parts[self._streams[i][0]], u, s) for i, u, s in own]
        wanted = at_users(own, self._channel_rows(mine), streams)
        sinr = (1.0 + inverse_sinr) * wanted - heard >= 1.0
        parameters, location = self._decorrelation.selection.shape
        upper = self._coefficients.reshape(len(self._coefficients), -1) @ cp.vec(whole, order="C")
        transform = self._decorrelation.transform
        known = transform @ problem.prior @ transform.T
        information = known + cp.reshape(_mirror(parameters) @ upper, (parameters, parameters), order="C")
        bound = cp.Variable((location, location), symmetric=True)
        selection = self._decorrelation.selection
        inequality = cp.bmat([[information, selection], [selection.T, bound]]) >> 0
        program = cp.Problem(cp.Minimize(cp.trace(bound)), [inequality, power, sinr, *constraints])
        return _Compiled(program, streams, inverse_sinr, power, sinr, whole, held)

    def _whole(self, covariances: Any) -> tuple[Any, Any, list[Any]]:
        """Coordinates of a loose structure's whole covariance, and its constraints.

        The covariance is semidefinite, and its diagonal blocks are the covariances of the nodes.
        """
        import cvxpy as cp
        from scipy import sparse

        basis, count = self._judged_basis, len(self._judged)
        whole = cp.Variable((count, len(basis)))
        embed, size = real_embedding(basis), 2 * basis.shape[1]
        definite = [cp.reshape(embed @ whole[i], (size, size), order="C") >> 0 for i in range(count)]
        place = {part.subcarriers: p for p, part in enumerate(self._judged)}
        rows = np.zeros((len(self._parts), len(self._basis), count, len(basis)))
        for i, part in enumerate(self._parts):
            mine = part.antennas
            # Coordinates are real parts of diagonal entries, and real and imaginary parts of entries above the diagonal.
            blocks = basis[:, mine[:, np.newaxis], mine]
            entries = inner_products(blocks, self._basis) / np.einsum("kij,kji->k", self._basis, self._basis).real
            rows[i, :, place[part.subcarriers]] = entries.T
        blocks = sparse.csr_array(rows.reshape(len(self._parts) * len(self._basis), -1)) @ cp.vec(whole, order="C")
        return whole, cp.vec(covariances, order="C") == blocks, definite

    def solve(self, sinr: float, settings: dict[str, Any]) -> Solution:
        """Solve for an SINR target (linear). No earlier solve is reused, so the bits depend on the target alone."""
        scale = interference_scale(sinr)
        if scale not in self._programs:
            self._programs[scale] = self._program(scale)
        compiled = self._programs[scale]
        compiled.inverse_sinr.value = 1.0 / sinr
        started = time.perf_counter()
        outcome, iterations = solve(compiled.program, settings)
        seconds = time.perf_counter() - started
        if outcome not in ("optimal", "optimal_inaccurate") or compiled.streams.value is None:
            return Solution(outcome, None, None, None, iterations, seconds)
        if compiled.power.dual_value is None:
            return Solution(outcome, None, None, None, iterations, seconds)
        return self._physical(outcome, compiled, iterations, seconds)

    def _physical(self, outcome: str, compiled: _Compiled, iterations: int, seconds: float) -> Solution:
        problem, scale = self._problem, self._decorrelation.scale_m2
        total = problem.nodes * problem.antennas
        shape = (problem.subcarriers, problem.users)
        matrices = problem.per_antenna_power * np.tensordot(compiled.streams.value, self._basis, axes=1)
        count = problem.users + self._structure.has_sensing
        full = np.zeros((count, problem.subcarriers, total, total), dtype=np.complex128)
        for (p, user), matrix in zip(self._streams, matrices, strict=True):
            part = self._parts[p]
            for subcarrier in part.subcarriers:
                full[user, subcarrier, part.antennas[:, np.newaxis], part.antennas] += matrix
        node_dual = None
        if self._structure.loose:
            whole = problem.per_antenna_power * np.tensordot(compiled.whole.value, self._judged_basis, axes=1)
            for part, matrix in zip(self._judged, whole, strict=True):
                here = list(part.subcarriers)
                full[-1, here] = matrix - full[:-1, here].sum(axis=0)
            node_dual = self._node_dual(compiled.held.dual_value) * scale / problem.per_antenna_power
        noise = problem.noise_power / problem.subcarriers
        power_dual = by_antenna(problem, compiled.power.dual_value) * scale / problem.per_antenna_power
        sinr_dual = np.maximum(compiled.sinr.dual_value, 0.0).reshape(shape).T * scale / noise
        return Solution(outcome, full, power_dual, sinr_dual, iterations, seconds, node_dual=node_dual)

    def _node_dual(self, multiplier: Float) -> Complex:
        """Z [L, N, M_t, M_t] from the multipliers of the coordinates of ``sum_u R_{c,n,u} = R_nn``."""
        problem = self._problem
        z = np.zeros((problem.subcarriers, problem.nodes, self._size, self._size), dtype=np.complex128)
        norms = np.einsum("kij,kji->k", self._basis, self._basis).real
        for part, values in zip(self._parts, multiplier.reshape(len(self._parts), -1), strict=True):
            matrix = np.tensordot(values / norms, self._basis, axes=1) / len(part.subcarriers)
            z[list(part.subcarriers), part.antennas[0] // problem.antennas] = matrix
        return z


def real_embedding(basis: Complex) -> Any:
    """Matrix from real coordinates to the entries of [[Re X, -Im X], [Im X, Re X]]."""
    from scipy import sparse

    real, imaginary = basis.real, basis.imag
    whole = np.concatenate([np.concatenate([real, -imaginary], axis=2), np.concatenate([imaginary, real], axis=2)], axis=1)
    return sparse.csr_array(whole.reshape(len(basis), -1).T)


def _mirror(size: int) -> Any:
    """Matrix from an upper triangle to all entries of the symmetric matrix."""
    from scipy import sparse

    rows, columns = np.triu_indices(size)
    entry = np.arange(len(rows))
    place = np.concatenate([rows * size + columns, columns * size + rows])
    matrix = sparse.csr_array((np.ones(2 * len(rows)), (place, np.concatenate([entry, entry]))), shape=(size**2, len(rows)))
    matrix.data[:] = 1.0
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
