"""The design of 000 in a band: one power limit for all subcarriers, and the power split left free.

Every subcarrier has the users' guarded SINRs, as in the design of one subcarrier. With power and noise one, multipliers q of
all subcarriers prove together, under total power, that

    ``sum_l sum_k q_{l,k} + sum_l sum_n t_{l,n} / tau_{l,n} <= 1``

for the powers t_{l,n} that node n puts on the target on subcarrier l: the inequality of ``total_power`` holds on every
subcarrier in units of the power spent there, and these powers add up. So the reachable t lie in one simplex. A divergence that
is convex and increasing in t is largest at a corner: all power that is left goes to one node on one subcarrier. Two laws of the
target's cross-section give such divergences. One cross-section for a whole processing interval adds up the energies of all
resource elements, ``F(T sum_l t_l)``. A new one for each resource element adds up divergences, ``T sum_l F(t_l)``.

With a price for each node's power, and power counted by them, the same holds under limits of nodes: any prices give a simplex.
In amplitudes u these simplices are ellipsoids, and what all of them have in common is what beams can reach. So the reachable
t are a convex set, too. ``band_bounds`` finds the best t within the simplices so far. The simplices that hold this t back have
weights, and the next prices are the weighted mean of theirs: the new simplex says at least as much as the old ones together.
Designs come from cone programs over all subcarriers, each of which maximises a tangent of the divergence.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from disac.designs.robust import band_newton
from disac.designs.robust.band_bounds import best_of_parts, best_of_sums, spread_first
from disac.designs.robust.guards import Guard, Margins, guard_of, guarded_sinr, node_wise_basis
from disac.designs.robust.limited_power import CLIMB, CLOSED, ROUNDS, USUAL, Care, LimitedPower
from disac.designs.robust.problem import Beams, RobustProblem
from disac.designs.robust.subcarriers import Point, Subcarriers, has_coordinates, subcarriers_of
from disac.designs.robust.total_power import Service, needed_powers, quietest_service, sensing_beams
from disac.metrics.kld import EchoModel
from disac.optim.certificate import Certificate
from disac.optim.cones import ConeProgram, ConeSolution
from disac.power_limits import PER_NODE, TOTAL, PowerLimit

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Index = NDArray[np.intp]

Simplex = tuple[float, Float]
"""The users' least share of the power and tau [L, N]: ``share + sum_l sum_n t_{l,n} / tau_{l,n} <= 1``, t over the power."""

LEAST_PRICE = 1e-5
"""Least price of a node's power, of the largest one: power that costs nothing has no inverse, and any price proves."""

CUTS, TURNS = 40, 6
"""Most simplices that are added in one go, and most turns of simplices and tangents."""

REGIONS = 200
"""Most regions of powers at the target that the bound of the second law tells apart."""

LIT = 0.01
"""Share of the best node's power at the target from which another node climbs: from zero its tangent leads nowhere."""

MOST_KEPT = 0.9
"""Largest share of a step that the next step of a climb is taken to keep."""

CUT_OFF = 1e-6
"""A simplex cuts off powers where it claims more than the limit for them, by more than this share."""

CrossSectionLaw = Literal["interval", "element"]
"""Law of the target's cross-section: one for a processing interval, or a new one for each resource element."""


@dataclass(frozen=True)
class BandProblem:
    """Numbers of one drop on L subcarriers.

    ``channels`` h_{n,u,l} [N, U, L, M]; ``steering`` a_t(theta_n) [N, M]; ``echoes`` turn the powers at the target in one
    resource element into a divergence. ``power`` is that of all subcarriers together, ``noise_power`` that of one resource
    element. ``ball_radius`` bounds the channel errors, [N, U, L]; ``symbols`` is T, the symbols of a processing interval.

    Raises
    ------
    ValueError
        If the limit is neither that of total power nor that of each node.
    """

    channels: Complex
    steering: Complex
    echoes: EchoModel
    power: float
    noise_power: float
    ball_radius: Float
    phase_error_rad: float
    limit: PowerLimit
    symbols: int
    law: CrossSectionLaw

    def __post_init__(self) -> None:
        if self.limit not in (TOTAL, PER_NODE):
            raise ValueError(f"limit is '{self.limit.name}'; a band has designs for 'total' and 'per-node'")

    @cached_property
    def tones(self) -> list[RobustProblem]:
        """The problem of each subcarrier, with the power of the whole band."""
        return [
            RobustProblem(
                channels, self.steering, self.echoes, self.power, self.noise_power, radius, self.phase_error_rad, self.limit
            )
            for channels, radius in zip(np.moveaxis(self.channels, 2, 0), np.moveaxis(self.ball_radius, 2, 0), strict=True)
        ]

    @cached_property
    def pooled(self) -> RobustProblem:
        """A problem whose divergence bounds that of the band, from the sums of t over subcarriers: F(T t), or T F(t)."""
        gains = self.echoes.gains * (self.symbols if self.law == "interval" else 1)
        return replace(self.tones[0], echoes=replace(self.echoes, gains=gains))

    @property
    def repeats(self) -> int:
        """How often the divergence of :attr:`pooled` counts."""
        return 1 if self.law == "interval" else self.symbols

    def divergence(self, beampowers: Float) -> Float:
        """Divergence of a processing interval for beampowers t [..., L, N], nats, [...]."""
        if self.law == "interval":
            return self.pooled.divergence(beampowers.sum(axis=-2))
        return self.symbols * self.echoes.divergence(beampowers).sum(axis=-1)

    def gradient(self, beampowers: Float) -> Float:
        """Gradient of :meth:`divergence` in t [L, N]."""
        if self.law == "interval":
            return np.broadcast_to(self.pooled.echoes.gradient(beampowers.sum(axis=-2)), beampowers.shape)
        return self.symbols * self.echoes.gradient(beampowers)


@dataclass(frozen=True)
class BandDesign:
    """Delivered signals of all subcarriers with their certificate, or the proof that there are none.

    ``users`` w_{l,k} [L, K, N, M], ``sensing`` w_{s,l} [L, N, M], ``beampowers`` t_{l,n} [L, N], in the unit of the power.
    ``prices`` [simplices, N] of the nodes' powers prove the bound, or that no beams serve the users (:func:`proven_in_band`);
    ``least_power`` is the share of the limit that the users take at least, as proven.
    """

    certificate: Certificate
    users: Complex | None = None
    sensing: Complex | None = None
    beampowers: Float | None = None
    least_power: float = float("nan")
    prices: Float | None = None


def solve_band(band: BandProblem, margins: Margins, sinr: float) -> BandDesign:
    """Signals with the largest divergence of a processing interval whose users have the guarded SINR on every subcarrier.

    Parameters
    ----------
    margins
        How amplitudes are guarded.
    sinr
        SINR target, linear.

    Returns
    -------
    BandDesign
        Under total power the global optimum. Under limits of nodes the best design found, with a bound from outside; where the
        two are further apart than the gap limit, the status is ``inaccurate``.
    """
    started = time.perf_counter()
    silent = [subcarrier for subcarrier, tone in enumerate(band.tones) if tone.unheard_user is not None]
    if silent:
        found = _unheard(band, silent[0])
    elif band.limit == TOTAL:
        found = _under_total_power(band, margins, sinr)
    else:
        found = _UnderNodeLimits(band, margins, sinr).design()
    return replace(found, certificate=replace(found.certificate, seconds=time.perf_counter() - started))


def _at_prices(tone: RobustProblem, margins: Margins, prices: Float) -> tuple[RobustProblem, Guard]:
    """The problem of a subcarrier with its guard, in coordinates whose length is the power counted by prices [N].

    Beams w of node n become ``sqrt(price_n) w``. Amplitudes at the users and at the target stay as they are.
    """
    root = np.sqrt(prices)[:, np.newaxis]
    priced = replace(
        tone, channels=tone.channels / root[..., np.newaxis], steering=tone.steering / root,
        ball_radius=tone.ball_radius / root, limit=TOTAL,
    )  # fmt: skip
    guard = guard_of(priced, margins)
    if margins.guards_balls and not margins.by_node:
        # The ball over all nodes bounds errors in the coordinates of the beams themselves.
        guard = guard_of(priced, margins, node_wise_basis(priced))
        spread = np.repeat(1.0 / root, tone.antennas, axis=0).reshape(-1)
        guard = replace(guard, radius=tone.stacked_radius[np.newaxis], lengths=spread @ np.abs(guard.basis) ** 2)
    if margins.stacks_leaks:
        guard = replace(guard, sensing_radius=tone.stacked_radius / root)
    return priced, guard


@dataclass(frozen=True)
class ToneService:
    """Service of the users on one subcarrier with the least power counted by prices, and each node's best sensing beam.

    ``guard`` is that of the problem in coordinates of that power, and ``service`` its solution; ``sensing`` are unit beams
    [N, M], and ``reach`` is tau [N].
    """

    guard: Guard
    service: Service
    sensing: Complex
    reach: Float

    @property
    def share(self) -> float:
        """The least share of the power that the users take."""
        return float(self.service.user_dual.sum())


def _quietest_on(tone: RobustProblem, margins: Margins, sinr: float, prices: Float) -> ToneService:
    """Service of one subcarrier with the least power counted by prices [N], by a cone program where errors are guarded."""
    priced, guard = _at_prices(tone, margins, prices)
    service = quietest_service(guard, sinr)
    sensing, reach, _ = sensing_beams(priced, guard, service.user_dual)
    return ToneService(guard, service, sensing, reach)


@dataclass(frozen=True)
class BandService:
    """What prices of the nodes' powers prove: ``share + sum_l sum_n t_{l,n} / reach_{l,n} <= 1``, in closed form from
    multipliers. ``share`` is the least share of the power that the users take.
    """

    share: float
    reach: Float


def quietest_in_band(band: BandProblem, margins: Margins, sinr: float, prices: Float) -> BandService:
    """Service with the least power counted by prices [N] of mean one, on all subcarriers."""
    tones = _joined(band, margins, sinr)
    return _whole_service(band, margins, sinr, prices, None if tones is None else band_newton.quietest(tones, prices))


def _joined(band: BandProblem, margins: Margins, sinr: float) -> Subcarriers | None:
    """All subcarriers for :mod:`band_newton`, where it is made for the margins."""
    return subcarriers_of(band.tones, margins, sinr) if has_coordinates(margins, band.phase_error_rad) else None


def _whole_service(
    band: BandProblem, margins: Margins, sinr: float, prices: Float, found: band_newton.Services | None
) -> BandService:  # fmt: skip
    """The simplex of prices [N]. Each subcarrier without a tight proof is served by itself."""
    nodes, _, count, _ = band.channels.shape
    shares, reach, tight = np.zeros(count), np.zeros((count, nodes)), np.zeros(count, dtype=np.bool_)
    if found is not None:
        shares, reach, tight = found.simplices.share.copy(), found.simplices.reach.copy(), found.tight
    for subcarrier in np.flatnonzero(~tight).tolist():
        own = _quietest_on(band.tones[subcarrier], margins, sinr, prices)
        shares[subcarrier], reach[subcarrier] = own.share, own.reach
    return BandService(float(shares.sum()), reach)


def proven_in_band(band: BandProblem, margins: Margins, sinr: float, prices: Float) -> tuple[float, float]:
    """Least share of the power that the users take, and bound of the divergence, that any prices [simplices, N] prove.

    The users cannot be served where the share is above one. Each simplex is made again, and checked in closed form.
    """
    if any(tone.unheard_user is not None for tone in band.tones):
        return np.inf, 0.0
    found, tones, near = [], _joined(band, margins, sinr), None
    for own in prices:
        each = _of_mean_one(own)
        services = None if tones is None else band_newton.quietest(tones, each, near)
        near = None if services is None else services.point
        found.append(_whole_service(band, margins, sinr, each, services))
    return max(own.share for own in found), _in_common(band, [(own.share, own.reach) for own in found])[2]


def _of_mean_one(prices: Float) -> Float:
    """Prices above a floor, of mean one."""
    known = np.maximum(np.nan_to_num(prices, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    largest = float(known.max())
    raised = np.maximum(known, LEAST_PRICE * largest) if largest > 0.0 else np.ones_like(known)
    return raised / raised.mean()


def _in_common(band: BandProblem, simplices: Sequence[Simplex], regions: int = REGIONS) -> tuple[Float, Float, float]:
    """The best powers t [L, N] within simplices and the nodes' own limits, the weights of the simplices, and the bound of the
    divergence (``band_bounds``).
    """

    def divergence(beampowers: Float) -> Float:
        return band.pooled.divergence(band.power * beampowers)

    known = list(simplices)
    if band.limit == PER_NODE:
        nodes, count = len(band.steering), band.channels.shape[2]
        most = np.where(np.eye(nodes) > 0, np.sum(np.abs(band.steering) ** 2, axis=1) / nodes, np.inf)
        known += [(0.0, np.tile(own, (count, 1))) for own in most]
    if band.law == "interval":
        corner, weights, bound = best_of_sums(known, divergence)
    else:
        corner, weights, bound = best_of_parts(known, divergence, regions)
    return corner, weights[: len(simplices)], band.repeats * bound


def _unheard(band: BandProblem, subcarrier: int) -> BandDesign:
    """The verdict on a band with a user whom no beam reaches on one subcarrier."""
    user = band.tones[subcarrier].unheard_user
    reason = "the power is zero" if band.power == 0.0 else f"the channels of user {user} are zero at all nodes"
    sentence = f"No beams give every user the SINR on subcarrier {subcarrier}: {reason} (checked)."
    refused = Certificate("infeasible", sentence, dual_bound=0.0, maximised=True)
    return BandDesign(refused, least_power=np.inf, prices=np.ones((1, len(band.steering))))


def _refused(need: float, prices: Float) -> BandDesign:
    sentence = (
        "No beams give every user the SINR on every subcarrier with the margins of the robustness choice: "
        f"they need at least {need:.4g} times the power (checked)."
    )
    refused = Certificate("infeasible", sentence, dual_bound=0.0, maximised=True)
    return BandDesign(refused, least_power=need, prices=prices[np.newaxis])


def judged_in_band(
    band: BandProblem, margins: Margins, sinr: float, users: Complex, sensing: Complex, bound: float, iterations: int
) -> BandDesign:  # fmt: skip
    """The design of signals [L, K, N, M] and [L, N, M] with its certificate, computed from the signals."""
    beams = [Beams(own, lit) for own, lit in zip(users, sensing, strict=True)]
    beampowers = np.array([each.beampowers(band.steering) for each in beams])
    least = min(float(guarded_sinr(tone, margins, each).min()) for tone, each in zip(band.tones, beams, strict=True))
    spent = (np.abs(users) ** 2).sum(axis=(0, 1)) + (np.abs(sensing) ** 2).sum(axis=0)
    certificate = Certificate(
        "ok", "", float(band.divergence(beampowers)), bound,
        power_violation=max(0.0, float(band.limit.busiest(spent / band.power)) - 1.0),
        sinr_violation=max(0.0, 1.0 - least / sinr), psd_violation=0.0, iterations=iterations, maximised=True,
    ).judged()  # fmt: skip
    return BandDesign(certificate, users, sensing, beampowers)


def _under_total_power(band: BandProblem, margins: Margins, sinr: float) -> BandDesign:
    """Least power on every subcarrier, and the rest for the best node on its best subcarrier."""
    equal = np.ones(len(band.steering))
    found = [_quietest_on(tone, margins, sinr, equal) for tone in band.tones]
    share, reach = sum(own.share for own in found), np.array([own.reach for own in found])
    if share > 1.0:
        return _refused(share, equal)
    lost = [subcarrier for subcarrier, own in enumerate(found) if own.service.directions is None]
    if lost:
        told = f"Subcarrier {lost[0]}: the solver found no beams and no proof that there are none."
        return BandDesign(Certificate("failed", told), least_power=share)
    beams = np.array([_whole(own.service, own.guard, tone) for own, tone in zip(found, band.tones, strict=True)])
    sensing = np.array([own.sensing for own in found])
    needed = [needed_powers(t, margins, sinr, own, lit) for t, own, lit in zip(band.tones, beams, sensing, strict=True)]
    quiet, added = np.array([own for own, _ in needed]), np.array([own for _, own in needed])
    spare = (1.0 - quiet.sum()) / (1.0 + added.sum(axis=1))
    if (quiet < 0).any() or not (spare > 0).all():
        told = f"The beams found need more than the power. At least {share:.6f} of it is needed, so other beams may do."
        return BandDesign(Certificate("failed", told), least_power=share)
    corners = band.power * spare * np.abs(np.einsum("nm,lnm->ln", band.steering, sensing)) ** 2
    values = band.pooled.divergence(corners[..., np.newaxis] * np.eye(len(band.steering)))
    subcarrier, node = np.unravel_index(int(np.argmax(values)), values.shape)
    powers = quiet.copy()
    powers[subcarrier] += added[subcarrier, :, node] * spare[subcarrier, node]
    users = np.sqrt(band.power * powers)[..., np.newaxis, np.newaxis] * beams
    sent = np.zeros_like(sensing)
    sent[subcarrier, node] = np.sqrt(band.power * spare[subcarrier, node]) * sensing[subcarrier, node]
    _, _, bound = _in_common(band, [(share, reach)])
    design = judged_in_band(band, margins, sinr, users, sent, bound, sum(own.service.iterations for own in found))
    return replace(design, least_power=share, prices=equal[np.newaxis])


def _whole(service: Service, guard: Guard, tone: RobustProblem) -> Complex:
    """Unit beams [K, N, M] from their coordinates [K, d]."""
    assert service.directions is not None
    return (service.directions @ guard.basis.T).reshape(tone.users, tone.nodes, tone.antennas)


class TangentProgram:
    """The cone program over all subcarriers that maximises a direction of the amplitudes u [L, N] at the target.

    The rows of each subcarrier are those of :class:`LimitedPower`, in variables of its own. The limit of each node holds its
    beams on all subcarriers.

    Parameters
    ----------
    fixed_noise
        Whether the noise is one; otherwise the program maximises its amplitude, the same on all subcarriers.
    """

    def __init__(
        self, band: BandProblem, margins: Margins, sinr: float, care: Care = USUAL, *, fixed_noise: bool = True
    ) -> None:  # fmt: skip
        self.band, self.care = band, care
        self.tones = [LimitedPower(tone, margins, sinr, care) for tone in band.tones]
        cones = [tone.cones if fixed_noise else tone.with_free_noise() for tone in self.tones]
        self.ends = np.cumsum([each.variables for each in cones])
        first = np.concatenate([[0], self.ends[:-1]])
        self.program = ConeProgram(int(self.ends[-1]))
        for start, each in zip(first, cones, strict=True):
            self.program.include(each.program, int(start), each.limits[0][0])
        self.first_limit = self.program.blocks
        self.spent: list[Index] = []
        count = len(cones[0].limits)
        for number in range(count):
            where = np.concatenate([start + each.limits[number][1] for start, each in zip(first, cones, strict=True)])
            rows = np.concatenate([np.zeros((1, len(where))), np.eye(len(where))])
            self.program.second_order(where, rows, np.sqrt(1.0 / count) * np.eye(1 + len(where))[0])
            self.spent.append(where)
        self.noise = first + np.array([each.start["noise"] for each in cones])
        for other in self.noise[1:] if not fixed_noise else ():
            self.program.equal([self.noise[0], other], np.array([[1.0, -1.0]]), np.zeros(1))

    def furthest(self, weights: Float) -> tuple[ConeSolution, Float]:
        """Beams that reach furthest along weights [L, N], and their amplitudes u [L, N] in units of the power's root."""
        found = self.program.solve(np.concatenate([tone.cost(own) for tone, own in zip(self.tones, weights, strict=True)]))
        return found, np.array([tone.amplitudes(own) for tone, own in zip(self.tones, self._parts(found), strict=True)])

    def loudest(self) -> ConeSolution:
        """Beams that serve the users at the largest noise."""
        return self.program.solve(np.eye(1, int(self.ends[-1]), int(self.noise[0]))[0])

    def prices(self, found: ConeSolution) -> Float:
        """Prices of the nodes' powers, of mean one."""
        blocks = found.multipliers[self.first_limit : self.first_limit + len(self.spent)]
        norms = [float(np.linalg.norm(found.variables[where])) for where in self.spent]
        return _of_mean_one(np.array([float(z[0]) / max(norm, 1e-12) for z, norm in zip(blocks, norms, strict=True)]))

    def beams(self, found: ConeSolution) -> tuple[Complex, Complex]:
        """Beams [L, K, N, M] and [L, N, M] of a solution in the unit of the power's root."""
        sent = [tone.beams(own) for tone, own in zip(self.tones, self._parts(found), strict=True)]
        return np.array([each.users for each in sent]), np.array([each.sensing for each in sent])

    def _parts(self, found: ConeSolution) -> list[Float]:
        return np.split(found.variables, self.ends[:-1])


def _ahead(first: Float, second: Float, third: Float) -> Float:
    """Where amplitudes [L, N] that follow each other by tangents lead to, if each step is the same share of the one before."""
    before, step = second - first, third - second
    share = float(np.clip(np.sum(before * step) / max(float(np.sum(before**2)), 1e-300), 0.0, MOST_KEPT))
    return np.maximum(third + share / (1.0 - share) * step, 0.0)


class _UnderNodeLimits:
    """The search for a design and a bound under limits of nodes: tangents from inside, simplices from outside."""

    def __init__(self, band: BandProblem, margins: Margins, sinr: float) -> None:
        self.band, self.margins, self.sinr = band, margins, sinr
        self.tones = _joined(band, margins, sinr)
        self.prices: list[Float] = []
        self.simplices: list[Simplex] = []
        self.value, self.iterations = -np.inf, 0
        self.best: tuple[Complex, Complex] | None = None
        self.near: Point | None = None
        self.weights: Float = np.ones(1)

    @cached_property
    def program(self) -> TangentProgram:
        """For tangents that :mod:`band_newton` does not find."""
        return TangentProgram(self.band, self.margins, self.sinr)

    def design(self) -> BandDesign:
        """The best design found, with the bound of all simplices; or the proof that there is none."""
        self.enclose(np.ones(len(self.band.steering)))
        bound = np.inf
        for turn in range(TURNS):
            before = bound, self.value
            corner, bound = self.tighten(REGIONS if turn > 0 else 1)
            if max(share for share, _ in self.simplices) > 1.0:
                return self._refusal()
            if bound <= self.value * (1.0 + CLOSED):
                break
            self.climb(corner, bound)
            if self.best is None:
                return self._refusal()
            if bound >= before[0] * (1.0 - CLIMB * CLOSED) and self.value <= before[1] * (1.0 + CLIMB * CLOSED):
                break
        assert self.best is not None
        users, sensing = self.best
        prices, proven = self._needed(bound)
        found = judged_in_band(self.band, self.margins, self.sinr, users, sensing, proven, self.iterations)
        return replace(found, least_power=max(share for share, _ in self.simplices), prices=prices)

    def enclose(self, prices: Float, found: band_newton.Services | None = None) -> BandService:
        """Add the simplex of prices [N] of mean one, from services that are found already or not."""
        if found is None and self.tones is not None:
            found = band_newton.quietest(self.tones, prices, self.near)
        self.near = None if found is None else found.point
        service = _whole_service(self.band, self.margins, self.sinr, prices, found)
        self.prices.append(prices)
        self.simplices.append((service.share, service.reach))
        return service

    def tighten(self, regions: int) -> tuple[Float, float]:
        """Add simplices until the bound gets no better, and return the best powers t [L, N] within them and the bound."""
        corner, weights, bound = _in_common(self.band, self.simplices, regions)
        for _ in range(CUTS):
            if bound <= self.value * (1.0 + CLOSED):
                break
            prices = _of_mean_one(weights @ np.array(self.prices))
            service = self.enclose(prices)
            if service.share + float((corner / service.reach).sum()) <= 1.0 + CUT_OFF:
                break
            corner, weights, bound = _in_common(self.band, self.simplices, regions)
        self.weights = weights
        return corner, bound

    def climb(self, corner: Float, bound: float) -> None:
        """Maximise the tangent again and again, from powers t [L, N] on, until the design is close to the bound or no better.

        Prices of the programs give simplices, too.
        """
        if not corner.any():
            return
        if self.band.law == "element":
            # A node that joins others on their subcarrier gains, but from zero its tangent leads nowhere.
            corner = np.maximum(corner, LIT * corner.max(axis=1, keepdims=True))
        amplitudes, last, near = np.sqrt(corner), -np.inf, None
        passed: list[Float] = []
        for _ in range(ROUNDS):
            weights = 2.0 * self.band.power * amplitudes * self.band.gradient(self.band.power * amplitudes**2)
            found = self.furthest(weights / np.linalg.norm(weights), near)
            if found is None:
                break
            amplitudes, near = np.maximum(found[0], 0.0), self.near
            value = float(self.band.divergence(self.band.power * amplitudes**2))
            if value > self.value:
                self.value, self.best = value, found[1]
            if bound <= self.value * (1.0 + CLOSED) or value <= last * (1.0 + CLIMB * CLOSED):
                break
            last = value
            passed.append(amplitudes)
            if len(passed) == 3:
                amplitudes, passed = _ahead(*passed), []

    def furthest(self, weights: Float, near: Point | None) -> tuple[Float, tuple[Complex, Complex]] | None:
        """Amplitudes [L, N] and beams that go furthest along weights [L, N], from a point for other weights or without one.

        The simplex of the prices is added.
        """
        joined = None if self.tones is None else band_newton.furthest(self.tones, weights, near)
        if self.tones is not None and joined is not None:
            self.iterations += joined.steps
            prices = _of_mean_one(joined.prices)
            # A price below the floor was raised, and the services are those of other prices.
            self.enclose(prices, joined.services if np.allclose(prices, joined.prices, rtol=1e-9, atol=0.0) else None)
            return self.tones.amplitudes(joined.point), self.tones.beams(joined.point)
        found, amplitudes = self.program.furthest(weights)
        self.iterations += found.iterations
        if not found.solved:
            return None
        self.enclose(self.program.prices(found))
        return amplitudes, self.program.beams(found)

    def _refusal(self) -> BandDesign:
        """The proof that no beams serve the users, from prices under which they need most; or the failure to find any."""
        shares = [share for share, _ in self.simplices]
        if max(shares) <= 1.0:
            loudest = TangentProgram(self.band, self.margins, self.sinr, fixed_noise=False)
            found = loudest.loudest()
            self.iterations += found.iterations
            shares.append(self.enclose(loudest.prices(found)).share)
        worst = int(np.argmax(shares))
        need = shares[worst]
        if need > 1.0:
            return _refused(need, self.prices[worst])
        told = f"The solver found no beams and no proof that there are none. Beams need at least {need:.6f} of the power."
        return BandDesign(Certificate("failed", told, iterations=self.iterations), least_power=need)

    def _needed(self, bound: float) -> tuple[Float, float]:
        """Prices of few simplices that prove the bound, or one within the gap that ends the search, [simplices, N].

        The bound that they prove is returned, too. Simplices that hold the best powers back come first, then those of prices
        that are far from theirs.
        """
        enough = max(bound * (1.0 + 1e-9), self.value * (1.0 + CLOSED))
        holding = np.argsort(-self.weights, kind="stable")[: max(1, np.count_nonzero(self.weights))]
        order, count = spread_first(np.log(np.array(self.prices)), holding.tolist()), 4
        while True:
            some = order[:count].tolist()
            proven = _in_common(self.band, [self.simplices[place] for place in some])[2]
            if count >= len(order) or proven <= enough:
                return np.array([self.prices[place] for place in some]), proven
            count *= 2
