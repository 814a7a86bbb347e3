"""Residual phases of the nodes from a reflector at a known place, and statistics freed from them.

With phases ``psi`` the image of a pair at the reflector is ``A w_tr e^{j (psi_t + psi_r)}`` plus noise, with the radar law
``w``. The likeliest phases align all images: ``max |sum w z e^{-j (psi_t + psi_r)}|``, one side in closed form given the
other. The reflection phase of the reflector is not known, so that one phase of each side stays open; a common phase moves no
target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from disac.estimators.dmimo.echoes import Complex, EchoModel, Float, distances_m, unit_images

_SWEEPS = 500
_STILL = 1e-12


@dataclass(frozen=True)
class NodePhases:
    """Phases of the transmitters [M_t] and receivers [M_r], rad, each side with mean direction zero."""

    transmit_rad: Float
    receive_rad: Float


def node_phases(model: EchoModel, samples: Complex, reflector_m: Float) -> NodePhases:
    """Likeliest node phases from one trial's statistics [Q, M_r, N, W] of a reflector at a known place [2], m.

    Raises
    ------
    ValueError
        If echoes of transmitters overlap: images of pairs are not independent then.
    """
    if model.groups[1] > 1:
        raise ValueError("Node phases are found from transmitters in slots of their own.")
    z, norms = unit_images(model, samples, reflector_m[np.newaxis])
    away = distances_m(model, reflector_m)
    law = norms[0, :, 0, np.newaxis] / (away[list(model.transmitters), np.newaxis] * away[list(model.receivers)])
    weighted = law / law.max() * z[0, :, 0]
    left, _, right = np.linalg.svd(weighted)
    send, get = np.exp(1j * np.angle(left[:, 0])), np.exp(1j * np.angle(right[0]))
    for _ in range(_SWEEPS):
        before = send
        send = np.exp(1j * np.angle(weighted @ get.conj()))
        get = np.exp(1j * np.angle(send.conj() @ weighted))
        if abs(np.vdot(before, send)) >= (1.0 - _STILL) * len(send):
            break
    return NodePhases(*(np.angle(side * np.exp(-1j * np.angle(side.sum()))) for side in (send, get)))


def without_phases(samples: Complex, phases: NodePhases) -> Complex:
    """Statistics [..., Q, M_r, N, W] of transmitters in slots of their own with node phases taken away."""
    turn = np.exp(-1j * (phases.transmit_rad[:, np.newaxis] + phases.receive_rad))
    return samples * turn[..., np.newaxis, np.newaxis]
