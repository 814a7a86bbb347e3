"""One random drop of a coherent network in numbers: positions, channels and echoes (000, section II)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disac.arrays import steering_vector
from disac.drops.clutter import disturbance_covariance, whitened_gain
from disac.drops.fading import distance_gain, rician_weights
from disac.geometry import angles_rad
from disac.rcs import SHAPE, bistatic_factor, correlation, lobed_profile
from disac.scenarios.coherent import CoherentScenario
from disac.streams import complex_normal, stream
from disac.units import db_to_linear

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class CoherentDrop:
    """Arrays of one drop; noise powers are one, so that powers are over the noise.

    ``channels`` h_{n,k} [N, K, M]; ``target_angles_rad`` [N] from each boresight; ``link_gain`` |L|^2, one for all links;
    ``bearings_rad`` [N] of the nodes seen from the target; ``lobe_rad`` of the profile; ``disturbance`` R_0,n [N, M, M].
    """

    scenario: CoherentScenario
    nodes_m: Float
    users_m: Float
    channels: Complex
    target_angles_rad: Float
    bearings_rad: Float
    lobe_rad: float
    link_gain: float
    disturbance: Complex

    def steering(self, angles_rad: Float) -> Complex:
        """Array responses towards angles [..., N] from boresight, [..., N, M], of the scenario's squared norm."""
        arrays = self.scenario.arrays
        wanted = arrays.antennas if arrays.response_power is None else arrays.response_power
        return steering_vector(angles_rad, arrays.antennas) * np.sqrt(wanted / arrays.antennas)

    def mean_squares(self, angle_errors_rad: Float | None = None) -> Float:
        """``E beta_nm^2`` [..., N, N] of receiver and transmitter, at aspects that err by angles [..., N]."""
        target = self.scenario.target
        bearings = self.bearings_rad if angle_errors_rad is None else self.bearings_rad + angle_errors_rad
        receive, transmit = bearings[..., :, np.newaxis], bearings[..., np.newaxis, :]
        aspect = {
            "transmit": np.broadcast_to(transmit, np.broadcast_shapes(transmit.shape, receive.shape)),
            "receive": np.broadcast_to(receive, np.broadcast_shapes(transmit.shape, receive.shape)),
            "bisector": (transmit + receive) / 2.0,
        }[target.aspect]
        profile = lobed_profile(aspect, target.lobe_swing_db, self.lobe_rad)
        return profile * bistatic_factor(self.bearings_rad) ** 2 if target.bistatic == "cosine" else profile

    def echo_gains(self, angles_rad: Float | None = None) -> Float:
        """``B_nm = (1 - 2 delta)^2 q_n |L|^2 E beta_nm^2`` of (35) in 000, [..., N, N]; at angles [..., N] other than
        assumed."""
        away = self.target_angles_rad if angles_rad is None else angles_rad
        received = whitened_gain_at(self.steering(away), self.disturbance)
        uncertainty = self.scenario.uncertainty
        loss = (1.0 - 2.0 * uncertainty.delta_rad) ** 2 if uncertainty.coherence_loss == "paper" else 1.0
        errors = None if angles_rad is None else angles_rad - self.target_angles_rad
        return loss * self.link_gain * received[..., :, np.newaxis] * self.mean_squares(errors)

    def link_correlation(self) -> Float:
        """``E[beta_nm beta_n'm^*]`` over root mean squares, [N, N, N]."""
        target = self.scenario.target
        return correlation(SHAPE[target.law], len(self.nodes_m), common=target.rcs_correlation == "common")

    def ball_radius(self) -> Float:
        """Radii of the channel errors, [N, K] (000, (4), or from the phase error)."""
        uncertainty = self.scenario.uncertainty
        if uncertainty.ball_radius == "absolute":
            return np.full(self.channels.shape[:2], uncertainty.delta_rad)
        return 2.0 * np.sin(uncertainty.delta_rad / 2.0) * np.linalg.norm(self.channels, axis=2)


def whitened_gain_at(responses: Complex, disturbance: Complex) -> Float:
    """:func:`disac.drops.clutter.whitened_gain` over leading axes of responses [..., N, M]."""
    if responses.ndim == 2:
        return whitened_gain(responses, disturbance)
    return np.stack([whitened_gain_at(each, disturbance) for each in responses])


def coherent_drop(scenario: CoherentScenario) -> CoherentDrop:
    """Positions, channels (2) and echoes of a scenario, every draw keyed by what it belongs to."""
    layout, channel = scenario.layout, scenario.channel
    count = layout.node_count
    apart = 360.0 / count if layout.separation_deg is None else layout.separation_deg
    bearings = np.deg2rad(apart) * (np.arange(count) - (count - 1) / 2.0)
    nodes = layout.radius_m * np.stack([np.cos(bearings), np.sin(bearings)], axis=1)
    key = {"realisation": channel.realisation}
    users = np.empty((layout.user_count, 2))
    for user in range(layout.user_count):
        random = stream(channel.seed, "user-position", user=user, **key)
        away = np.sqrt(random.uniform(layout.user_inner_m**2, layout.user_outer_m**2))
        turn = random.uniform(0.0, 2.0 * np.pi)
        users[user] = away * np.cos(turn), away * np.sin(turn)
    lobe = scenario.target.lobe_deg
    offset = stream(channel.seed, "lobe", **key).uniform(0.0, np.pi) if lobe is None else np.deg2rad(lobe)
    power = db_to_linear(scenario.power.power_to_noise_db)
    return CoherentDrop(
        scenario, nodes, users, _channels(scenario, nodes, users), angles_rad(nodes, np.zeros((1, 2)), "origin")[:, 0],
        bearings, float(bearings[0] + offset), db_to_linear(scenario.target.echo_snr_db) / power, _disturbance(scenario),
    )  # fmt: skip


def _channels(scenario: CoherentScenario, nodes: Float, users: Float) -> Complex:
    channel, antennas = scenario.channel, scenario.arrays.antennas
    of_direct, of_scattered = rician_weights(channel.rician_factor_db)
    angles = angles_rad(nodes, users, "origin")
    away = np.linalg.norm(users[np.newaxis] - nodes[:, np.newaxis], axis=2)
    turn = np.exp(-2j * np.pi * away / channel.wavelength_m)
    h = np.empty((len(nodes), len(users), antennas), dtype=np.complex128)
    for node, user in np.ndindex(h.shape[:2]):
        random = stream(channel.seed, "scattered-channel", realisation=channel.realisation, node=node, user=user)
        direct = turn[node, user] * steering_vector(angles[node, user], antennas)
        h[node, user] = of_direct * direct + of_scattered * complex_normal(random, antennas)
    gain = distance_gain(away, scenario.layout.radius_m, channel.pathloss_exponent)
    return h * np.sqrt(gain)[..., np.newaxis]


def _disturbance(scenario: CoherentScenario) -> Complex:
    clutter, channel = scenario.clutter, scenario.channel
    angles = np.empty((scenario.layout.node_count, clutter.patch_count))
    shares = np.empty(clutter.patch_count)
    span = np.deg2rad(clutter.span_deg)
    for patch in range(clutter.patch_count):
        key = {"realisation": channel.realisation, "patch": patch}
        shares[patch] = stream(channel.seed, "patch-power", **key).exponential()
        for node in range(len(angles)):
            angles[node, patch] = stream(channel.seed, "patch-angle", node=node, **key).uniform(-span, span)
    powers = db_to_linear(clutter.clutter_to_noise_db) * shares / max(float(shares.sum()), 1e-300)
    return disturbance_covariance(angles, powers, scenario.arrays.antennas)
