"""The studies that come with the project."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from flows.data_files import data_dir
from flows.papers import check_paper, read_papers
from pipeline.experiment import load_experiment, rough_seconds
from pipeline.grid import expand
from pipeline.plan import cost_classes
from pipeline.study import load_study, study_json_schema


def catalogue() -> list[dict[str, Any]]:
    """Return a row per study: name, paper, figure, cells, and the rough seconds that its experiment declares."""
    rows = []
    for file in sorted((data_dir() / "studies").glob("*.yaml")):
        study = check_paper(load_study(file))
        cells = expand(study)
        classes = Counter(cost_classes(cells, np.arange(len(cells.index))))
        costs = [(n, rough_seconds(study.experiment, json.loads(options))) for options, n in classes.items()]
        rows.append(
            {
                "study": study.name,
                "title": study.title,
                "paper": study.paper or "",
                "figure": study.figure or "",
                "experiment": study.experiment.name,
                "cells": len(cells.index),
                "rough_seconds": sum(n * cost for n, cost in costs if cost is not None) or None,
            }
        )
    return rows


def study_schema() -> str:
    """Return the JSON schema of study files for the experiments that come with the project."""
    own = {row["experiment"] for row in catalogue()}
    return study_json_schema({name: load_experiment(name).scenario_model for name in sorted(own)}, read_papers())
