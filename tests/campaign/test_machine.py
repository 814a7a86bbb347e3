"""Ledger, planner, publisher and collector against a model that fits on a page, under any history (rules S2-S5, I1, C4)."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from faults import Kill, KilledError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from toy_study import TOY_STUDY

from pipeline import sweep as sweep_module
from pipeline import worker as worker_module
from pipeline.compact import collect_garbage, compact
from pipeline.cube import publish_cube
from pipeline.digest import CodeDigest
from pipeline.key_index import write_index
from pipeline.layout import INDEX
from pipeline.ledger import open_ledger
from pipeline.loaded import loaded_code
from pipeline.plan import Plan, make_plan, plan_under, refreshed
from pipeline.results import open_store
from pipeline.store import FAULT_POINTS, LocalStore
from pipeline.study import load_study
from pipeline.sweep import Sweep

LEVELS = [0, 10, 13, 20, 30]
Cell = tuple[float, int, int]


class StoreMachine(RuleBasedStateMachine):
    """The model is a set of computed (code, cell) pairs and what was published last; the system must agree with it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = LocalStore(self.folder / "results")
        self.levels, self.counts, self.realisations = {0}, {1}, 1
        self.seed, self.code = 1, 0
        self.computed: set[tuple[int, int, Cell]] = set()
        self.shown: dict[Cell, int] | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- the study as it stands

    def cells(self) -> set[Cell]:
        return {(float(x), n, r) for x in self.levels for n in self.counts for r in range(self.realisations)}

    def plan(self, store: LocalStore | None = None) -> Plan:
        file = self.folder / "study.yaml"
        text = TOY_STUDY.replace('"0:40:10"', str(sorted(self.levels))).replace("[1, 2]", str(sorted(self.counts)))
        text = text.replace('"0:2:1"', str(list(range(self.realisations))))
        file.write_text(text + f"scenario: {{draw: {{seed: {self.seed}}}}}\n")
        store = store or self.store
        plan = make_plan(load_study(file), store)
        # Other code: another digest; what the toy computes stays.
        return plan_under(plan, CodeDigest(f"{self.code:032x}", dict(plan.code.manifest)), store)

    def here(self) -> set[Cell]:
        return {cell for code, seed, cell in self.computed if (code, seed) == (self.code, self.seed)}

    @staticmethod
    def cell(plan: Plan, i: int) -> Cell:
        level, count, realisation = plan.cells.coordinates(i).values()
        return float(level), int(count), int(realisation)

    # --- events

    @initialize()
    def begin(self) -> None:
        self.run()

    @rule(level=st.sampled_from(LEVELS))
    def insert_a_level(self, level: int) -> None:
        self.levels.add(level)

    @precondition(lambda self: len(self.levels) > 1)
    @rule(data=st.data())
    def remove_a_level(self, data: st.DataObject) -> None:
        self.levels.discard(data.draw(st.sampled_from(sorted(self.levels))))

    @rule(count=st.sampled_from([1, 2, 3]))
    def insert_a_count(self, count: int) -> None:
        self.counts.add(count)

    @rule(realisations=st.integers(1, 3))
    def set_realisations(self, realisations: int) -> None:
        self.realisations = realisations

    @rule(seed=st.sampled_from([1, 2]))
    def change_a_default(self, seed: int) -> None:
        self.seed = seed

    @rule(code=st.integers(0, 1))
    def change_code(self, code: int) -> None:
        self.code = code

    @rule()
    def run(self) -> None:
        missing = self.cells() - self.here()
        assert self._sweep(self.store) == missing
        self.computed |= {(self.code, self.seed, cell) for cell in missing}

    @rule(point=st.sampled_from(FAULT_POINTS[:4]), time=st.integers(1, 3))
    def run_and_kill(self, point: str, time: int) -> None:
        """A kill while segments are written: what is there afterwards is what the model takes over, cell by cell."""
        missing = self.cells() - self.here()
        with contextlib.suppress(KilledError):
            self._sweep(LocalStore(self.store.location(), Kill(point, time)))
        plan = self.plan()
        kept = {self.cell(plan, int(i)) for i in np.flatnonzero(plan.complete)}
        assert self.here() & self.cells() <= kept <= self.here() | missing
        self.computed |= {(self.code, self.seed, cell) for cell in kept}

    @rule()
    def second_writer(self) -> None:
        """Two coordinators plan, then both run."""
        first, second = self.plan(), self.plan(LocalStore(self.store.location()))
        for plan in (first, second):
            self._sweep(self.store, plan)
        self.computed |= {(self.code, self.seed, cell) for cell in self.cells()}

    @rule()
    def publish(self) -> None:
        plan = self.plan()
        publish_cube(plan, self.store)
        self.shown = self._statuses()

    @rule(point=st.sampled_from(FAULT_POINTS), time=st.integers(1, 40))
    def publish_and_kill(self, point: str, time: int) -> None:
        plan = self.plan(LocalStore(self.store.location(), Kill(point, time)))
        before = self.store.read_pointer("cubes/toy-study/latest")
        with contextlib.suppress(KilledError):
            publish_cube(plan, plan.ledger.store)
        if self.store.read_pointer("cubes/toy-study/latest") != before:
            self.shown = self._statuses()

    @rule()
    def compact(self) -> None:
        compact(self.store)

    @rule(point=st.sampled_from(FAULT_POINTS[:4]))
    def compact_and_kill(self, point: str) -> None:
        with contextlib.suppress(KilledError):
            compact(LocalStore(self.store.location(), Kill(point)))

    @rule()
    def compact_and_collect(self) -> None:
        compact(self.store)
        collect_garbage(self.store, older_than_s=-1.0)

    @rule()
    def collect(self) -> None:
        collect_garbage(self.store, older_than_s=-1.0)

    @rule()
    def write_the_index(self) -> None:
        write_index(open_ledger(self.store))

    @rule()
    def delete_the_index(self) -> None:
        for entry in self.store.list(INDEX):
            self.store.delete(entry.name)

    @rule()
    def reopen(self) -> None:
        self.store = LocalStore(self.store.location())

    # --- what must hold

    @invariant()
    def the_plan_agrees_with_the_model(self) -> None:
        plan = self.plan()
        assert {self.cell(plan, int(i)) for i in plan.todo} == self.cells() - self.here()
        assert not plan.ledger.damaged
        statuses = {self.cell(plan, i): int(s) for i, s in enumerate(plan.choice.status) if plan.choice.present[i]}
        assert all(status == _expected(cell) for cell, status in statuses.items())

    @invariant()
    def what_is_published_is_whole(self) -> None:
        if self.shown is None:
            return
        cube = open_store(self.store.location())["toy-study/cube"].to_dataset().load()
        found = {
            (float(x), int(n), int(r)): int(cube["status"].sel(level=x, count=n, realisation=r))
            for x in cube["level"].values for n in cube["count"].values for r in cube["realisation"].values
        }  # fmt: skip
        assert found == self.shown
        errors = cube["error_m"].values[cube["status"].values == 2]
        assert np.isfinite(errors).all()

    def _statuses(self) -> dict[Cell, int]:
        there = self.here()
        return {cell: _expected(cell) if cell in there else 0 for cell in self.cells()}

    def _sweep(self, store: LocalStore, plan: Plan | None = None) -> set[Cell]:
        """Run what is missing in this thread; returns the cells executed."""
        plan = plan or self.plan()
        plan = refreshed(plan, store) if plan.ledger.store is not store else plan
        plan = replace(plan, ledger=replace(plan.ledger, store=store))
        toy.COUNTED.clear()
        with _Patched(store), ThreadPoolExecutor(1) as pool:
            Sweep(plan, store, pool, lambda: 1).run()
        return {(float(x), n, r) for x, n, r in toy.COUNTED}


class _Patched:
    """The worker writes through the store at hand and takes the code it is told; tasks are of one or two cells."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._open, self._check = worker_module.open_store_backend, worker_module.experiment_as_planned
        self._first, self._target = sweep_module.FIRST_CELLS, sweep_module.TARGET_SECONDS
        worker_module.open_store_backend = lambda location: self._store  # type: ignore[assignment]
        worker_module.experiment_as_planned = _any_code  # type: ignore[assignment]
        sweep_module.FIRST_CELLS, sweep_module.TARGET_SECONDS = 2, 1e-6

    def __exit__(self, *error: object) -> None:
        worker_module.open_store_backend, worker_module.experiment_as_planned = self._open, self._check
        sweep_module.FIRST_CELLS, sweep_module.TARGET_SECONDS = self._first, self._target


def _any_code(name: str, planned: CodeDigest, revision: str) -> object:
    return loaded_code(name)[0]


def _expected(cell: Cell) -> int:
    return 5 if cell[0] == toy.RAISES_AT_DB else 4 if cell[0] >= toy.INFEASIBLE_FROM_DB else 2


@pytest.mark.no_cover  # counting lines doubles its time, and finds none that other tests do not run
@pytest.mark.parametrize("histories", [4, *(pytest.param(many, marks=pytest.mark.slow) for many in (8, 40))])
def test_s5_any_history_agrees_with_the_model(histories: int) -> None:
    run_state_machine_as_test(
        StoreMachine, settings=settings(max_examples=histories, stateful_step_count=25, deadline=None, derandomize=True)
    )  # fmt: skip
