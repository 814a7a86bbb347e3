"""The rigs of clusters_rig, for the tests of this folder."""

from clusters_rig import slurm, sshd

__all__ = ["slurm", "sshd"]
