"""Designs of phase-coherent distributed MIMO (004): which access points transmit and which receive."""
