"""Refinement: few cells of a dense lattice, and an interpolant of stated accuracy between them."""

from pipeline.refining.dense import DenseGrid, coarsest_dense
from pipeline.refining.filled import Refinement, open_refined
from pipeline.refining.known import Tolerance
from pipeline.refining.lattice import LatticeAxis, Step, lattice_axis, parse_step
from pipeline.refining.of_study import StudyLattice, derived_name, derived_study, metric_of, study_lattice
from pipeline.refining.refine import Goal, NoisyError, Refined, Round, refine
from pipeline.refining.study import refine_study

__all__ = [
    "DenseGrid",
    "Goal",
    "LatticeAxis",
    "NoisyError",
    "Refined",
    "Refinement",
    "Round",
    "Step",
    "StudyLattice",
    "Tolerance",
    "coarsest_dense",
    "derived_name",
    "derived_study",
    "lattice_axis",
    "metric_of",
    "open_refined",
    "parse_step",
    "refine",
    "refine_study",
    "study_lattice",
]
