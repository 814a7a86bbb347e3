"""Spectral efficiency of users whom access points serve in step, (6)-(7) of 004 with its misprints put right.

User k hears ``sum_t g_tk^H x_t``. The symbol of user i has the amplitude ``A_ki = sum_t sqrt(rho_t p_ti) g_tk^H w_ti`` at
user k. If access point a senses,

    SINR_k(a) = |A_kk|^2 / ( sum_{i != k} |A_ki|^2 + (1 - rho_a) P |g_ak|^2 / N + sigma^2 ).

004 prints ``i != 1`` in place of ``i != k`` and ``p_tk`` in place of ``p_ti``. Access points sense in turn, so the spectral
efficiency is the mean of ``log2(1 + SINR_k(a))`` over them, not that of one slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def heard_amplitudes(channels: Complex, beams: Complex, powers_w: Float) -> Complex:
    """``A_ki``: amplitude of the symbol of user i at user k, [..., K, K].

    Parameters
    ----------
    channels, beams
        g_tk and w_ti, [..., M_t, K, N].
    powers_w
        Powers sent to the users, rho_t p_ti, [..., M_t, K].
    """
    return np.einsum("...tkn,...tin,...ti->...ki", channels.conj(), beams, np.sqrt(powers_w), optimize=True)


def user_sinr(channels: Complex, beams: Complex, powers_w: Float, sensing_w: ArrayLike, noise_w: float) -> Float:
    """SINR of every user in the slots of every sensing access point, (7) of 004 corrected.

    Parameters
    ----------
    channels, beams
        g_tk and w_tk, [..., M_t, K, N].
    powers_w
        Powers sent to the users, rho_t p_tk, [..., M_t, K].
    sensing_w
        Power of the sensing signal, ``(1 - rho_t) P_t``, even over the antennas; one or [M_t].
    noise_w
        Noise power at a user.

    Returns
    -------
    float64, shape [..., M_t, K], linear
    """
    heard = np.abs(heard_amplitudes(channels, beams, powers_w)) ** 2
    wanted = np.einsum("...kk->...k", heard)
    disturbed = (heard.sum(axis=-1) - wanted)[..., np.newaxis, :] + sensing_at_users(channels, sensing_w) + noise_w
    return wanted[..., np.newaxis, :] / disturbed


def sensing_at_users(channels: Complex, sensing_w: ArrayLike) -> Float:
    """Power of the sensing signal of each access point at every user, ``(1 - rho_t) P_t |g_tk|^2 / N``, [..., M_t, K]."""
    each = np.broadcast_to(np.asarray(sensing_w, dtype=np.float64), channels.shape[-3:-2])
    return each[:, np.newaxis] * (np.abs(channels) ** 2).mean(axis=-1)


def spectral_efficiency(sinr: Float) -> Float:
    """``log2(1 + SINR)`` of every user, mean over the access points that sense in turn: [..., M_t, K] to [..., K], bit/s/Hz."""
    return np.log2(1.0 + sinr).mean(axis=-2)


def printed_sinr(channels: Complex, beams: Complex, powers_w: Float, sensing_w: ArrayLike, noise_w: float) -> Float:
    """(7) of 004 as printed, for comparison: the sum runs over ``i != 1``, and its amplitudes have the powers of user k.

    So every user but the first counts its own signal as interference in place of the first user's. Arguments and result are
    those of :func:`user_sinr`.
    """
    heard = np.einsum("...tkn,...tin,...tk->...ki", channels.conj(), beams, np.sqrt(powers_w), optimize=True)
    wanted = np.abs(np.einsum("...kk->...k", heard)) ** 2
    others = (np.abs(heard[..., 1:]) ** 2).sum(axis=-1)
    disturbed = others[..., np.newaxis, :] + sensing_at_users(channels, sensing_w) + noise_w
    return wanted[..., np.newaxis, :] / disturbed
