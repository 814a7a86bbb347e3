"""Designs of all papers on one network, each scored by the metrics of all: one cell is one design for one draw of a scenario.

The network is X0 unless its fields say otherwise. Some designs ignore an axis: a noncoherent design ignores the phases. Such a
design is solved once for all cells that differ only along this axis, and scored in each cell.
"""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from disac.designs.cross import ALL, NOTHING, ROWS, Proved, Record, Row, band_problem, sensing_model, stated
from disac.designs.cross_evidence import covariances_of, factored
from disac.designs.location.judge import location_crb_m2
from disac.designs.location.problem import DesignProblem
from disac.drops.common import PREFIX_S, SYMBOLS, CommonNetwork, common_network
from disac.experiments.base import ExperimentOptions, RoughCosts, Variable, cell_by_cell, differences
from disac.metrics.cross import illuminated, phase_gains, radiated, whole_divergence
from disac.metrics.delay import delay_sidelobes
from disac.metrics.detection import detection_probability, draw_echoes, threshold_for
from disac.metrics.fisher import link_responses
from disac.metrics.kld import EchoModel
from disac.metrics.phases import crb_under_phases
from disac.phase_law import draw_phases
from disac.scenarios.common import CommonScenario
from disac.streams import stream
from disac.units import db_to_linear, linear_to_db

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

PLUGINS = "disac.common_designs"
"""Entry point group of third-party designs: a function of a network and its scenario that returns a Record, or a Row."""

METRICS = "disac.common_metrics"
"""Entry point group of third-party measures: a Metric."""

PHASE_DRAWS = 200
ECHO_DRAWS = 10_000
ELEMENT_DRAWS = 2_000
"""Number of draws if every subcarrier has its own cross-sections."""
FALSE_ALARM_RATE = 1e-3
SENSED = 1e-5
"""Smallest share of the power at which a sensing signal is scored. A smaller signal counts as a residue of the solver. Residues
of 1e-8 were seen; constraints are kept to ``VIOLATION_LIMIT``."""
SAMPLE_BITS = 32
"""Bits of one complex sample on the fronthaul, 16 for each part."""


@lru_cache(maxsize=8)
def _installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points along a path. The search of all distributions takes about 10 ms, and every cell's options need it."""
    return tuple(entry_points(group=group))


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in _installed(PLUGINS, tuple(sys.path))}


@dataclass(frozen=True)
class Metric:
    """A third-party measure: its columns, and the function that computes them.

    Attributes
    ----------
    variables
        Columns of the table. They are scalar, and their names are new.
    score
        Function of the network, the scenario of the cell, and the covariances in W of the users' signals [U, L, D, D] and of
        the sensing signal [L, D, D]. It returns the value of each column by its name.
    """

    variables: tuple[Variable, ...]
    score: Callable[[CommonNetwork, CommonScenario, Complex, Complex], Mapping[str, Any]]


@cache
def _metrics() -> dict[str, tuple[str, Metric]]:
    """Module and measure of every installed plugin, by name.

    Raises
    ------
    ValueError
        If a plugin offers something else, a column that is not scalar, or one whose name is taken.
    """
    taken, found = {variable.name for variable in VARIABLES}, {}
    for point in sorted(entry_points(group=METRICS), key=lambda point: point.name):
        offered = point.load()
        if not isinstance(offered, Metric):
            raise ValueError(f"the measure '{point.name}' of the group {METRICS} is {offered!r}; expected a Metric")
        for variable in offered.variables:
            if variable.dims:
                raise ValueError(f"the measure '{point.name}': the column '{variable.name}' has dimensions; expected a scalar")
            if variable.name in taken:
                raise ValueError(f"the measure '{point.name}': the name '{variable.name}' of its column is taken")
            taken.add(variable.name)
        found[point.name] = point.module, offered
    return found


def row_of(name: str) -> Row:
    """The design of this name, of a paper or of a plugin. A plugin that is a plain function ignores no field."""
    if name in ROWS:
        return ROWS[name]
    offered = _plugins()[name].load()
    return offered if isinstance(offered, Row) else Row(offered, "", "", ())


class Options(ExperimentOptions):
    """Options: the design."""

    design: str = Field("ofdm-phase-agnostic", description="design; of a paper, or of an installed plugin")

    @field_validator("design")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known = [*ROWS, *_plugins()]
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f" (did you mean '{near[0]}'?)" if near else ""
            raise ValueError(f"no design '{name}'{meant}; known: {', '.join(known)}")
        return name


def _sensing(name: str, long_name: str, unit: str = "1") -> tuple[Variable, Variable]:
    """The same score where all signals are known at the receivers, and where only the sensing signal counts."""
    return (
        Variable(name, long_name, unit),
        Variable(f"sensing_only_{name}", f"{long_name}, by the sensing signal alone", unit, optional=True),
    )


SENSING = (
    _sensing("rcrb_m", "root hybrid CRB, clocks and phases as the scenario states", "m"),
    _sensing("rcrb_nc_m", "root CRB, phases of all links unknown", "m"),
    _sensing("random_phase_rcrb_m", "root of the mean CRB over random transmit phases", "m"),
    _sensing("random_phase_p95_rcrb_m", "root of the 95 % quantile of the CRB over random transmit phases", "m"),
    _sensing("rcrb_cc_m", "root CRB, all phases known except the target's", "m"),
    _sensing("kld", "divergence of one resource element, block-diagonal covariance", "nat"),
    _sensing("whole_kld", "divergence of one resource element, whole covariance, all links fluctuate as one", "nat"),
    _sensing("interval_kld", "divergence of a processing interval, new cross-sections in each resource element", "nat"),
    _sensing("interval_kld_one", "divergence of a processing interval, one cross-section per link", "nat"),
    _sensing("pd_one", "probability of detection by one resource element, false-alarm rate 1e-3, Swerling I"),
    _sensing("pd_interval", "probability of detection by a processing interval, false-alarm rate 1e-3, Swerling I"),
    _sensing(
        "pd_interval_each", "probability of detection by a processing interval, new cross-sections in each resource element"
    ),
    _sensing("peak_delay_sidelobe_db", "highest delay sidelobe of any node towards the target", "dB"),
)

VARIABLES = (
    Variable("radiated_w", "radiated power", "W"),
    Variable("busiest_node_w", "power of the busiest node", "W"),
    Variable("busiest_antenna_w", "power of the busiest antenna", "W"),
    Variable("sinr_c_db", "least SINR, amplitudes added, phases as assumed", "dB"),
    Variable("worst_sinr_c_db", "least SINR found for node phases that robust designs tolerate", "dB"),
    Variable("p5_sinr_c_db", "5 % quantile of the SINR over uniform node phases", "dB"),
    Variable("sinr_nc_db", "least SINR, powers added", "dB"),
    Variable("se_c_bps_hz", "mean spectral efficiency, prefix included, phases as assumed", "bit/s/Hz"),
    Variable("se_nc_bps_hz", "mean spectral efficiency, prefix included, uniform node phases", "bit/s/Hz"),
    Variable("se_bps_hz", "mean spectral efficiency, prefix included, node phases by the scenario's law", "bit/s/Hz"),
    Variable("p5_sinr_db", "5 % quantile of the SINR over node phases of the scenario's law", "dB"),
    Variable("outage", "share of users, subcarriers and node phases below the promised SINR"),
    *(variable for pair in SENSING for variable in pair),
    Variable("fronthaul_bps", "fronthaul rate, echo samples and users' data", "bit/s"),
    Variable("design_value", "objective of the design for its signal", "m2, nat or linear SINR", optional=True),
    Variable("design_bound", "bound of the objective", "m2, nat or linear SINR", optional=True),
    Variable("relative_gap", "relative gap of the design's certificate"),
    Variable("solve_seconds", "wall time of the design", "s", volatile=True),
    Variable(
        "user_streams", "beams whose outer products add up to the covariance of each user's signal", "sqrt(W)", "complex128",
        ("user", "subcarrier", "antenna", "stream"), kind="detail",
    ),
    Variable(
        "sensing_streams", "beams whose outer products add up to the covariance of the sensing signal", "sqrt(W)", "complex128",
        ("subcarrier", "antenna", "stream"), kind="detail",
    ),
    Variable(
        "power_dual", "multiplier of each antenna's power limit, for the band or (flat spectrum) each subcarrier", "m2/W",
        dims=("power_subcarrier", "antenna"), kind="detail", optional=True,
    ),
    Variable("sinr_dual", "multiplier of each user's SINR", "m2/W", dims=("user", "subcarrier"), kind="detail", optional=True),
    Variable(
        "fisher_dual", "multiplier of the Fisher information, Y", dims=("parameter", "location"), kind="detail", optional=True,
    ),
    Variable(
        "user_dual", "multiplier of each user's guarded SINR, of the power limit", dims=("user", "subcarrier"),
        kind="detail", optional=True,
    ),
    Variable(
        "proof", "multipliers that name the errors of the proof of each subcarrier, one subcarrier after another",
        dims=("proof_number",), kind="detail", optional=True,
    ),
    Variable(
        "proof_numbers", "how many numbers of the proof belong to each subcarrier; -1 where it has none", dtype="int64",
        dims=("subcarrier",), kind="detail", optional=True,
    ),
    Variable(
        "node_prices", "prices of the nodes' powers, one row for each simplex of the proof", dims=("simplex", "node"),
        kind="detail", optional=True,
    ),
)  # fmt: skip

EVIDENCE = ("power_dual", "sinr_dual", "fisher_dual", "user_dual", "proof", "proof_numbers", "node_prices")
"""Variables that hold the evidence of records."""

CERTIFIED = ("relative_gap", "design_value", "design_bound")
"""Variables that a design's prover checks."""


SHARED = ("delta_rad", "phase_bound_rad", "clock_std_s", "phase_std_rad")
"""Fields of the scenario that some designs ignore. Cells that differ only in these fields are run in one call."""

SINR_SLACK = 1e-6
"""Largest relative amount by which a solver leaves an SINR below its target."""

COSTS: RoughCosts = (
    ({"design": "isotropic"}, 0.1),
    ({"design": "largest-sinr"}, 0.2),
    ({"design": "largest-sinr-coherent"}, 0.2),
    ({"design": "robust-zero-forcing"}, 0.2),
    ({"design": "robust-none"}, 0.3),
    ({"design": "robust-lemma1"}, 0.3),
    ({"design": "robust-phase"}, 0.3),
    ({"design": "robust-known-data"}, 0.6),
    ({"design": "robust-none-band"}, 0.5),
    ({"design": "robust-none-band-each"}, 0.7),
    ({"design": "robust-phase-band"}, 0.6),
    ({"design": "robust-phase-band-each"}, 0.8),
    ({"design": "ofdm-unconstrained-tight"}, 0.8),
    ({"design": "coherent"}, 0.7),
    ({}, 0.4),
)


class Scorer:
    """The metrics of all papers for one draw of a scenario."""

    def __init__(self, network: CommonNetwork, scenario: CommonScenario) -> None:
        self.network, self.scenario = network, scenario
        nodes = network.nodes
        gains = network.antennas * network.amplitude**2 / network.noise_w
        # Links fluctuate independently with zero mean, so the echoes of two nodes are uncorrelated. The divergence computed
        # block by block is then exact.
        self.echoes = EchoModel(gains, np.broadcast_to(np.eye(nodes), (nodes, nodes, nodes)))
        random = stream(scenario.seed, "common-phases", realisation=scenario.realisation)
        self.phases = random.uniform(0.0, 2.0 * np.pi, (PHASE_DRAWS, nodes))

    @cached_property
    def noncoherent(self) -> DesignProblem:
        """Bound with every link's phase unknown."""
        return band_problem(self.network, NOTHING)

    @cached_property
    def responses(self) -> Complex:
        """Response of each receiver to one symbol of all nodes, [N, L, M_r, N M]."""
        return link_responses(sensing_model(self.network, NOTHING)) / np.sqrt(SYMBOLS)

    @cached_property
    def coherent(self) -> DesignProblem:
        """Bound with one unknown phase, of the target."""
        return band_problem(self.network, ALL)

    def scores(self, users: Complex, sensing: Complex) -> dict[str, Any]:
        """All columns that do not depend on clocks and phases, from covariances [U, L, D, D] and [L, D, D]."""
        network = self.network
        whole = users.sum(axis=0) + sensing
        total, node, antenna = radiated(whole, network.nodes)
        gains = phase_gains(network.channels, users, sensing, network.noise_w)
        known, unknown = gains.sinr(np.zeros(network.nodes)), gains.sinr(self.phases)
        se_c = self._kept * float(np.log2(1.0 + known).mean())
        result: dict[str, Any] = {
            "radiated_w": total, "busiest_node_w": node, "busiest_antenna_w": antenna, "sinr_c_db": _db(known.min()),
            "p5_sinr_c_db": _db(np.quantile(unknown, 0.05)),
            "sinr_nc_db": _db(gains.nominal().min()), "se_c_bps_hz": se_c,
            "se_nc_bps_hz": self._kept * float(np.log2(1.0 + unknown).mean()), "fronthaul_bps": self._fronthaul(users, se_c),
        }  # fmt: skip
        result |= self._sensed(whole)
        if _senses(users, sensing):
            result |= {f"sensing_only_{name}": value for name, value in self._sensed(sensing).items()}
        return result

    @property
    def _kept(self) -> float:
        """Share of the time that is not cyclic prefix."""
        return 1.0 / (1.0 + PREFIX_S * self.network.bandwidth_hz / self.network.subcarriers)

    def scores_under(self, scenario: CommonScenario, users: Complex, sensing: Complex) -> dict[str, Any]:
        """The columns that depend on clocks, phases and phase bound. The scenario has its own values of these fields only."""
        network = self.network
        gains = phase_gains(network.channels, users, sensing, network.noise_w)
        random = stream(scenario.seed, "common-user-phases", realisation=scenario.realisation)
        delta = float("inf") if scenario.delta_rad is None else scenario.delta_rad
        sinr = gains.sinr(draw_phases(random, delta, (PHASE_DRAWS, network.nodes)))
        asked = db_to_linear(scenario.sinr_db) * (1.0 - SINR_SLACK)
        problem = band_problem(network, stated(scenario))
        result: dict[str, Any] = {
            "worst_sinr_c_db": _db(gains.worst(scenario.guarded_rad).min()),
            "se_bps_hz": self._kept * float(np.log2(1.0 + sinr).mean()), "p5_sinr_db": _db(np.quantile(sinr, 0.05)),
            "outage": float((sinr < asked).mean()),
            "rcrb_m": np.sqrt(location_crb_m2(problem, users.sum(axis=0) + sensing)),
        }  # fmt: skip
        if _senses(users, sensing):
            result["sensing_only_rcrb_m"] = np.sqrt(location_crb_m2(problem, sensing))
        for _, metric in _metrics().values():
            result |= metric.score(network, scenario, users, sensing)
        return result

    def _sensed(self, covariances: Complex) -> dict[str, Any]:
        problem, t = self.noncoherent, illuminated(self.network.steering, covariances)
        crb = crb_under_phases(problem.receiver_derivatives, covariances, problem.sensing.noise_power, 1, self.phases)
        each = self.echoes.block(t)
        together = whole_divergence(self.responses, covariances, self.network.noise_w)
        lit = t.T[t.max(axis=0) > 1e-12 * t.max()]
        peak, _ = delay_sidelobes(lit)
        found = {
            "rcrb_nc_m": np.sqrt(location_crb_m2(problem, covariances)),
            "random_phase_rcrb_m": np.sqrt(crb.mean()), "random_phase_p95_rcrb_m": np.sqrt(_p95(crb)),
            "rcrb_cc_m": np.sqrt(location_crb_m2(self.coherent, covariances)), "kld": float(each.mean()),
            "whole_kld": float(together.mean()), "interval_kld": float(SYMBOLS * each.sum()),
            "interval_kld_one": float(self.echoes.block(SYMBOLS * t.sum(axis=0))),
            "peak_delay_sidelobe_db": _db(float(peak.max())),
        }  # fmt: skip
        nodes, draw = self.network.nodes, (self.scenario.seed, self.scenario.realisation)
        for name, snapshots in (("pd_one", 1), ("pd_interval", SYMBOLS * self.network.subcarriers)):
            draws = draw_echoes(*draw, "swerling-1", nodes, ECHO_DRAWS, snapshots, common=False)
            statistics = draws.statistics(self.echoes.gains, t.mean(axis=0))
            eta = threshold_for(FALSE_ALARM_RATE, nodes, snapshots)
            found[name] = float(detection_probability(statistics, eta))
        found["pd_interval_each"] = self._detected_anew(t)
        return found

    def _detected_anew(self, t: Float) -> float:
        """Probability of detection by an interval whose resource elements have cross-sections of their own, for t [L, N].

        The power that a receiver gets over each of its links on one subcarrier is the mean of T exponential variables.
        """
        subcarriers, nodes = t.shape
        draws = draw_echoes(
            self.scenario.seed,
            self.scenario.realisation,
            "swerling-1",
            nodes,
            ELEMENT_DRAWS,
            SYMBOLS * subcarriers,
            common=False,
        )
        random = stream(self.scenario.seed, "common-elements", realisation=self.scenario.realisation)
        means = random.gamma(SYMBOLS, 1.0 / SYMBOLS, (subcarriers, ELEMENT_DRAWS, nodes, nodes))
        scnr = np.einsum("lsnm,nm,lm->sn", means, self.echoes.gains, t, optimize=True) / subcarriers
        statistics = draws.heard(scnr).sum(axis=-1) / draws.snapshots
        eta = threshold_for(FALSE_ALARM_RATE, nodes, draws.snapshots)
        return float(detection_probability(statistics, eta))

    def _fronthaul(self, users: Complex, rate_bps_hz: float) -> float:
        """Raw echoes of every receive antenna, and each user's bits to every node that sends a part of its stream."""
        nodes = self.network.nodes
        power = np.real(np.einsum("ulii->uli", users)).reshape(*users.shape[:2], nodes, -1).sum(axis=-1)
        sends = power > 1e-9 * max(float(power.max()), 1e-300)
        band = self.network.bandwidth_hz
        echoes = nodes * self.network.antennas * band * SAMPLE_BITS
        return float(echoes + rate_bps_hz * band * sends.mean(axis=1).sum())


def _senses(users: Complex, sensing: Complex) -> bool:
    """Whether the sensing signal is larger than a solver's residue."""
    spent = float(np.real(np.einsum("lii->", sensing)))
    return spent > SENSED * (spent + float(np.real(np.einsum("ulii->", users))))


def _p95(values: Float) -> float:
    """The 95 % quantile. Between bounds that are infinite there is nothing to interpolate."""
    return float(np.quantile(values, 0.95, method="linear" if np.isfinite(values).all() else "higher"))


def _db(value: float) -> float:
    return linear_to_db(float(value)) if value > 0 else float("-inf")


@dataclass(frozen=True)
class CrossTable:
    """The experiment. Cells share a design if they differ only in fields that the design ignores."""

    name: str = "cross-table"
    scenario_model: type[BaseModel] = CommonScenario
    options_model: type[BaseModel] = Options
    line_axes: tuple[str, ...] = SHARED
    main_metric: str = "rcrb_nc_m"
    rough_costs: RoughCosts = COSTS

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Columns of the table: those of this package, and those of every installed measure."""
        return (*VARIABLES, *(variable for _, metric in _metrics().values() for variable in metric.variables))

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that define the result: those of this package, and those of every installed plugin."""
        plugins = {point.module for point in _plugins().values()} | {module for module, _ in _metrics().values()}
        return ("disac.experiments.cross_table", *sorted(plugins))

    def shared_axes(self, options: Options) -> tuple[str, ...]:
        """Fields of the scenario along which cells share one design, for all values of the other fields."""
        ignored = row_of(options.design).ignores
        # If the scenario has no phase bound, the guarded phase error follows from delta.
        return tuple(name for name in SHARED if name in ignored and (name != "delta_rad" or "phase_bound_rad" in ignored))

    def run(self, scenarios: Sequence[CommonScenario], options: Options) -> list[dict[str, Any]]:
        """Return one result per scenario. Each design is solved once."""
        row, designs = row_of(options.design), dict[str, _Designed]()

        def cell(scenario: CommonScenario) -> dict[str, Any]:
            seen = row.seen(scenario)
            key = seen.model_dump_json()
            if key not in designs:
                designs[key] = _Designed(row, seen)
            return designs[key].cell(scenario)

        return cell_by_cell(cell, scenarios)

    def recheck(self, scenario: CommonScenario, options: Options, stored: Mapping[str, Any]) -> list[str]:
        """Sentences on promises of a stored cell that its signal and its evidence do not keep.

        Scores are computed again from the covariances. Constraints, bound and gap, or the refusal, are proved again by the
        design's own prover, if it has one: a plugin need not have one. No solver is used.
        """
        row, served, wrong = row_of(options.design), stored["status"] != "infeasible", list[str]()
        claimed = _claimed(stored, served=served)
        if served and claimed.users is None:
            return [f"the cell is '{stored['status']}', and no signal is stored"]
        if isinstance(row.method, Proved):
            seen = row.seen(scenario)
            wrong = row.method.prove(common_network(seen), seen, claimed)
        if claimed.users is None or claimed.sensing is None:
            return wrong
        scorer, sent = Scorer(common_network(scenario), scenario), (claimed.users, claimed.sensing)
        again = scorer.scores(*sent) | scorer.scores_under(scenario, *sent)
        scored = [v.name for v in self.variables if not v.dims and v.name not in (*CERTIFIED, "solve_seconds")]
        found = {name: again.get(name, np.nan) for name in scored}
        return wrong + differences(stored, found, "the stored signal", relative=1e-7, absolute=1e-12)


def _claimed(stored: Mapping[str, Any], *, served: bool) -> Record:
    """The record of a stored cell."""
    gap, value, bound = (float(stored[name]) for name in CERTIFIED)
    users: Complex | None = None
    sensing: Complex | None = None
    if served and stored["user_streams"].size and np.isfinite(stored["user_streams"]).all():
        users, sensing = covariances_of(stored["user_streams"]), covariances_of(stored["sensing_streams"])
    return Record(
        stored["status"], "", users, sensing, gap, value, bound, {name: stored[name] for name in EVIDENCE if name in stored}
    )


class _Designed:
    """A design, and its scores that do not depend on clocks and phases, for all cells that share the design."""

    def __init__(self, row: Row, seen: CommonScenario) -> None:
        started = time.perf_counter()
        network = common_network(seen)
        record: Record = row.method(network, seen)
        self.result: dict[str, Any] = {"status": record.status, "message": record.message}
        self.result["solve_seconds"] = time.perf_counter() - started
        self.result |= record.evidence
        self.sent: tuple[Complex, Complex] | None = None
        if record.users is not None and record.sensing is not None:
            users, sensing = record.factors or (factored(record.users), factored(record.sensing))
            self.sent = covariances_of(users), covariances_of(sensing)
            self.scorer = Scorer(network, seen)
            self.result |= self.scorer.scores(*self.sent)
            self.result |= {"user_streams": users, "sensing_streams": sensing, "relative_gap": record.gap}
            self.result |= {"design_value": record.value, "design_bound": record.bound}

    def cell(self, scenario: CommonScenario) -> dict[str, Any]:
        """The result for a scenario that has the same values of all fields that the design does not ignore."""
        return self.result | ({} if self.sent is None else self.scorer.scores_under(scenario, *self.sent))


experiment = CrossTable()
