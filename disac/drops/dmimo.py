"""One random drop of a phase-coherent D-MIMO network in numbers: positions, echoes and the users' channels (004, section II).

Every draw has a stream of its own for the entity that it belongs to (access point, target, user, antenna). So more access
points, targets, users, antennas or fading draws change no draw of fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import baseband_hz, steering_vector
from disac.drops.fading import urban_micro_gain
from disac.drops.urban_micro import (
    SIGHT_FACTOR_DB,
    correlated,
    distance_rician_factor,
    local_scattering,
    no_sight_gain,
    sight_probability,
)
from disac.geometry import angles_rad
from disac.scenarios.dmimo import DmimoScenario
from disac.streams import stream
from disac.units import SPEED_OF_LIGHT_M_S, db_to_linear

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class DmimoDrop:
    """Arrays of one drop with M access points, S targets and K users.

    ``access_points_m`` [M, 2]; ``boresights_rad`` [M], the direction that each array faces (004 measures angles from the
    target to the access point: its orientations are these minus pi); ``targets_m`` [S, 2]; ``reflection_phases_rad`` [S], phi
    of each target; ``users_m`` [K, 2]; ``user_phases_rad`` [K] of the users' oscillators; ``direct_gains`` and
    ``scattered_gains`` [M, K], power gains of the direct path and of all others; ``noise_w`` over the whole band.
    """

    scenario: DmimoScenario
    access_points_m: Float
    boresights_rad: Float
    targets_m: Float
    reflection_phases_rad: Float
    users_m: Float
    user_phases_rad: Float
    direct_gains: Float
    scattered_gains: Float
    noise_w: float

    @property
    def strengths(self) -> Float:
        """Large-scale gain beta of each access point and user, [M, K]."""
        return self.direct_gains + self.scattered_gains

    @property
    def orientation(self) -> tuple[float, ...]:
        """The boresights as :func:`disac.geometry.angles_rad` and the Fisher information take them."""
        return tuple(float(boresight) for boresight in self.boresights_rad)

    @property
    def frequencies_hz(self) -> Float:
        """Frequencies of the subcarriers, [L], Hz."""
        signal = self.scenario.signal
        return signal.carrier_hz + baseband_hz(signal.subcarriers, signal.bandwidth_hz)


def dmimo_drop(scenario: DmimoScenario) -> DmimoDrop:
    """Positions, phases and large-scale gains of a scenario; positions that the scenario gives are not drawn."""
    layout, channel = scenario.layout, scenario.channel
    key = {"realisation": channel.realisation}
    points, boresights = np.empty((layout.access_point_count, 2)), np.empty(layout.access_point_count)
    for number in range(len(points)):
        random = stream(channel.seed, "dmimo-access-point", access_point=number, **key)
        points[number] = random.uniform(0.0, layout.side_m, 2)
        boresights[number] = random.uniform(0.0, 2.0 * np.pi)
    targets, reflections = np.empty((layout.target_count, 2)), np.empty(layout.target_count)
    for number in range(len(targets)):
        random = stream(channel.seed, "dmimo-target", target=number, **key)
        targets[number] = random.uniform(0.0, layout.side_m, 2)
        reflections[number] = random.uniform(0.0, 2.0 * np.pi)
    users, phases = np.empty((layout.user_count, 2)), np.empty(layout.user_count)
    for number in range(len(users)):
        random = stream(channel.seed, "dmimo-user", user=number, **key)
        users[number] = random.uniform(0.0, layout.side_m, 2)
        phases[number] = random.uniform(-np.pi, np.pi)
    points = points if layout.access_points_m is None else np.array(layout.access_points_m)
    boresights = boresights if layout.boresights_rad is None else np.array(layout.boresights_rad)
    targets = targets if layout.targets_m is None else np.array(layout.targets_m)
    users = users if layout.users_m is None else np.array(layout.users_m)
    direct, scattered = _gains(scenario, _distances_m(points, users))
    return DmimoDrop(
        scenario, points, boresights, targets, reflections, users, phases, direct, scattered, scenario.noise_w
    )  # fmt: skip


def echo_amplitudes(drop: DmimoDrop) -> Complex:
    """``alpha e^{j varphi}`` of (2) in 004 for every pair of access points, at the first subcarrier.

    ``alpha = sqrt(lambda^2 sigma / (4 pi)^3) / (d_t d_r)`` by the radar equation without antenna gain; the phase is
    ``phi_s - 2 pi f (d_t + d_r) / c``. Between subcarriers it turns with the delay, by :func:`disac.arrays.delay_vector`.

    Returns
    -------
    complex128, shape [M, M, S]: receiver, transmitter, target
    """
    away = _distances_m(drop.access_points_m, drop.targets_m)
    both = away[:, np.newaxis] + away
    phase = drop.reflection_phases_rad - 2.0 * np.pi * drop.frequencies_hz[0] * both / SPEED_OF_LIGHT_M_S
    return _radar_gain(drop.scenario) / (away[:, np.newaxis] * away) * np.exp(1j * phase)


def user_channels(drop: DmimoDrop, draws: int) -> Complex:
    """Channels g of (4)-(5) in 004: a user hears ``g^H x``.

    The direct path turns with the frequency; scattered paths are flat in frequency, and correlated by local scattering.

    Parameters
    ----------
    draws
        Number of draws of the scattered paths; a drop has one of everything else.

    Returns
    -------
    complex128, shape [draws, M, K, L, N]
    """
    scenario = drop.scenario
    channel, antennas = scenario.channel, scenario.arrays.antennas
    angles = angles_rad(drop.access_points_m, drop.users_m, drop.orientation)
    away = _distances_m(drop.access_points_m, drop.users_m)
    turns = 2.0 * np.pi / SPEED_OF_LIGHT_M_S * drop.frequencies_hz
    phase = drop.user_phases_rad[:, np.newaxis] - turns * away[..., np.newaxis]
    direct = (np.sqrt(drop.direct_gains)[..., np.newaxis] * np.exp(1j * phase))[..., np.newaxis]
    direct = direct * steering_vector(angles, antennas)[:, :, np.newaxis]
    if channel.paths_over_targets:
        direct = direct + _over_targets(drop, turns)
    white = np.empty((draws, *away.shape, antennas), dtype=np.complex128)
    for point, user, antenna in np.ndindex(*away.shape, antennas):
        random = stream(
            channel.seed, "dmimo-scattered", realisation=channel.realisation, access_point=point, user=user, antenna=antenna
        )
        pairs = random.standard_normal((draws, 2))
        white[:, point, user, antenna] = (pairs[:, 0] + 1j * pairs[:, 1]) / np.sqrt(2.0)
    spread = np.deg2rad(channel.angular_spread_deg)
    scattered = correlated(local_scattering(angles, spread, antennas), white)
    scattered = scattered * np.sqrt(drop.scattered_gains)[..., np.newaxis]
    response = direct + scattered[:, :, :, np.newaxis]
    # What an array sends, x, arrives as a^T x where targets see it by (2), so that g^H x means g = a^*.
    return response if channel.user_response == "printed" else response.conj()


def target_path_gains(drop: DmimoDrop) -> Float:
    """Power gain of the path from each access point over each target to each user, (5) of 004, [M, S, K]."""
    to_target, to_user = _distances_m(drop.access_points_m, drop.targets_m), _distances_m(drop.targets_m, drop.users_m)
    return (_radar_gain(drop.scenario) / (to_target[..., np.newaxis] * to_user)) ** 2


def _over_targets(drop: DmimoDrop, turns: Float) -> Complex:
    """Second sum of (5), [M, K, L, N]."""
    to_target, to_user = _distances_m(drop.access_points_m, drop.targets_m), _distances_m(drop.targets_m, drop.users_m)
    angles = angles_rad(drop.access_points_m, drop.targets_m, drop.orientation)
    length = to_target[..., np.newaxis] + to_user
    offsets = drop.reflection_phases_rad[:, np.newaxis] + drop.user_phases_rad
    phase = offsets[..., np.newaxis] - turns * length[..., np.newaxis]
    weight = np.sqrt(target_path_gains(drop))[..., np.newaxis] * np.exp(1j * phase)
    return np.einsum("mskl,msa->mkla", weight, steering_vector(angles, drop.scenario.arrays.antennas))


def _gains(scenario: DmimoScenario, away_m: Float) -> tuple[Float, Float]:
    """Power gains of the direct path and of all others, [M, K] each."""
    channel, carrier_hz = scenario.channel, scenario.signal.carrier_hz
    away = np.maximum(away_m, channel.least_distance_m)
    sight, hidden = urban_micro_gain(away, carrier_hz), no_sight_gain(away, carrier_hz)
    if channel.path_loss == "random-sight":
        factor = np.where(_seen(scenario, away), db_to_linear(SIGHT_FACTOR_DB), 0.0)
        gain = np.where(factor > 0, sight, hidden)
    else:
        factor = distance_rician_factor(away)
        gain = sight if channel.path_loss == "line-of-sight" else hidden
    return gain * factor / (factor + 1.0), gain / (factor + 1.0)


def _seen(scenario: DmimoScenario, away_m: Float) -> NDArray[np.bool_]:
    """Links that have a line of sight, [M, K]."""
    channel, seen = scenario.channel, np.empty(away_m.shape, dtype=bool)
    probability = sight_probability(away_m)
    for point, user in np.ndindex(away_m.shape):
        random = stream(channel.seed, "dmimo-sight", realisation=channel.realisation, access_point=point, user=user)
        seen[point, user] = random.uniform() < probability[point, user]
    return seen


def _radar_gain(scenario: DmimoScenario) -> float:
    """``sqrt(lambda^2 sigma / (4 pi)^3)``, m^2: amplitude of an echo times both distances."""
    return scenario.signal.wavelength_m * float(np.sqrt(scenario.target.cross_section_m2 / (4.0 * np.pi) ** 3))


def _distances_m(first_m: Float, second_m: Float) -> Float:
    """Distance of every point of one list from every point of another, m."""
    away = first_m[:, np.newaxis] - second_m
    return np.hypot(away[..., 0], away[..., 1])
