"""The rigs of clusters_rig, for the tests of this folder."""

from clusters_rig import disac, home, slurm, sshd

__all__ = ["disac", "home", "slurm", "sshd"]
