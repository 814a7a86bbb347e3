"""Positions of targets from the echoes of a phase-synchronised network of access points (004): coarse map, then lobes."""
