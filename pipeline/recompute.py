"""Compute one cell again in this process and compare it with its stored result."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

from pipeline.inputs import put_inputs
from pipeline.loaded import experiment_as_planned
from pipeline.plan import Plan
from pipeline.segment import Segment, decode_segment, encode_segment
from pipeline.store import Store
from pipeline.sweep import task_input
from pipeline.values import build
from pipeline.worker import compute_line, kept_variables, scenario_of


def recompute(plan: Plan, store: Store, cell: int) -> Segment:
    """Compute one planned cell in the foreground, without a time limit, and store nothing.

    Returns
    -------
    Segment
        A segment with one row, as a worker would have stored it.
    """
    put_inputs(plan.cells, store)
    task = task_input(plan, store, [np.array([cell])], "")
    experiment = experiment_as_planned(task.experiment, plan.code, task.revision)
    variables = kept_variables(experiment, task)
    records = compute_line(experiment, task, task.lines[0])
    return decode_segment(encode_segment(records, variables, {}))


def models_of(plan: Plan, store: Store, cell: int) -> tuple[BaseModel, BaseModel]:
    """Return the validated scenario and options of a planned cell; files are replaced by their stored copies."""
    put_inputs(plan.cells, store)
    task = task_input(plan, store, [np.array([cell])], "")
    scenario = scenario_of(plan.study.experiment, task, task.lines[0][0])
    return scenario, build(plan.study.experiment.options_model, task.options)
