"""The names of all random streams, and what each is drawn for.

A name belongs to one thing; the keys beside it (seed, realisation, node, user, ...) say which one. No experiment reaches this
table, so that a new name changes no digest. A test compares it with the code.
"""

from __future__ import annotations

from collections.abc import Mapping

STREAMS: Mapping[str, str] = {
    "user-channel": "Rayleigh channel of a node, user and subcarrier (drops/noncoherent)",
    "target-phase": "phase of a target's echo on a link (drops/noncoherent)",
    "node-phase": "oscillator phases of a transmitting node, all draws of a realisation (drops/noncoherent)",
    "user-position": "where a user stands in the ring (drops/coherent)",
    "lobe": "direction of the target's lobe (drops/coherent)",
    "scattered-channel": "scattered part of a node's channel to a user (drops/coherent)",
    "patch-power": "share of a clutter patch in the clutter's power (drops/coherent)",
    "patch-angle": "angle of a clutter patch at a node (drops/coherent)",
    "dmimo-access-point": "where an access point stands and what its array faces (drops/dmimo)",
    "dmimo-target": "where a target stands, and the phase of its reflection (drops/dmimo)",
    "dmimo-user": "where a user stands, and the phase of its oscillator (drops/dmimo)",
    "dmimo-sight": "whether an access point has a line of sight to a user (drops/dmimo)",
    "dmimo-scattered": "scattered part of an antenna's channel to a user, all draws of a realisation (drops/dmimo)",
    "dmimo-symbols": "symbols of a user on a subcarrier (experiments/dmimo_tradeoff)",
    "common-scattered": "scattered part of a node's channel to a user of X0 (drops/common)",
    "common-target": "where the target stands in its disc (drops/common)",
    "common-user-phases": "node phases of the scenario's law under which users hear a design (experiments/cross_table)",
    "common-elements": "cross-sections of each subcarrier's resource elements (experiments/cross_table)",
    "common-phases": "node phases under which X0's designs are scored (experiments/cross_table)",
    "cross-section": "fluctuation of the cross-section of a link (metrics/detection)",
    "aspect": "cross-section at one aspect (experiments/cross_section)",
    "symbols": "data symbols that are sent and processed (experiments/ofdm_echoes)",
    "earlier-symbol": "data symbol that is sent before them (experiments/ofdm_echoes)",
    "heard-symbols": "data symbols that the users hear (experiments/ofdm_echoes)",
    "echo-noise": "noise of the echoes: with a receiver that of matched filters (metrics/detection), without one that of "
    "sampled OFDM echoes (experiments/ofdm_echoes); the two have no scenario in common",
    "sca-start": "random starts of the successive convex approximation (experiments/robust_tradeoff)",
    "theory-node": "where a node stands (experiments/ofdm_theory)",
    "theory-target": "where a target stands (experiments/ofdm_theory)",
    "theory-signal": "sampled signal of a node and symbol (experiments/ofdm_theory)",
}
