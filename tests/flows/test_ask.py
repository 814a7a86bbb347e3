"""``disac ask`` as people meet it, on a toy store: answers, exit codes, and ``--decide`` through the ordinary sweep."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toy
import xarray as xr
from toy_study import TOY_STUDY
from typer.testing import CliRunner, Result

import flows.asking
import flows.rounds
from flows.asking import Question
from flows.cli import app
from flows.deciding import decide
from flows.rounds import SweepRound
from flows.run import Run
from pipeline.asking import Answer
from pipeline.asking import ask as pipeline_ask
from pipeline.budget import Budget
from pipeline.compact import collect_garbage
from pipeline.cube import published_key
from pipeline.decided import decided_realisations, record_decided
from pipeline.errors import SurroundingsError, UsageError
from pipeline.experiment import STATUS_CODES
from pipeline.layout import cube_folder, decided_folder, latest_of
from pipeline.memory_store import MemoryStore
from pipeline.plan import Plan
from pipeline.results import open_store
from pipeline.store import open_store_backend
from pipeline.sweep import Sweep

Write = Callable[..., Path]
WISH = "error_m <= 3.2 in 90 % of realisations"


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy study: 5 levels, 2 counts, 3 realisations, all computed and published; from 30 dB on it is infeasible."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "study.yaml").write_text(TOY_STUDY, encoding="utf-8")
    compute(Run(folder / "study.yaml", str(folder / "results")))
    return folder / "results"


@pytest.fixture
def place(study_file: Write, tmp_path: Path, computed: Path) -> tuple[str, str]:
    """The toy study and a store of its own that holds it."""
    shutil.copytree(computed, tmp_path / "results", symlinks=True)
    return str(study_file()), str(tmp_path / "results")


def compute(run: Run) -> None:
    run.begin()
    sweep(run.plan, Budget())
    run.publish()
    run.aggregate()


def sweep(plan: Plan, budget: Budget) -> float:
    with ThreadPoolExecutor(2) as pool:
        return Sweep(plan, open_store_backend(plan.ledger.store.location()), pool, lambda: 2, budget=budget).run().core_seconds


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands sweep on threads of this process, in place of a cluster."""

    @contextmanager
    def rounds(*about: object) -> Iterator[SweepRound]:
        yield sweep

    monkeypatch.setattr(flows.rounds, "rounds", rounds)


def ask(place: tuple[str, str], *words: str, columns: int = 80) -> Result:
    file, store = place
    result = CliRunner().invoke(app, ["ask", file, *words, "--store", store], env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_an_answer_in_80_columns(place: tuple[str, str]) -> None:
    result = ask(place, "error_m <= 3.2 m and level <= 20 dB in 30 % of realisations", "--minimise", "-level,count")
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    lines = result.output.splitlines()
    assert lines[:2] == [
        "error_m <= 3.2 m and level <= 20 dB, in 30% of realisations",
        "10 points: 3 met, 4 not met, 3 undecided",
    ]
    assert re.search(r"\* +10 dB +2 +3 of 3 +36\.8% +1\.\d+ m \(\+1\.\d\)", result.output)
    assert "Cheaper neighbours that just miss:" in lines
    assert "Judged all together" in result.output


def test_the_answer_for_machines(place: tuple[str, str]) -> None:
    found = json.loads(ask(place, "error_m <= 3.2 in 30 %", "--minimise", "-level,count", "--json").output)
    assert found["points"] == {"not_planned": 0, "undecided": 7, "not_met": 0, "met": 3}
    assert found["rows"][0]["point"] == {"level": 10.0, "count": 2}
    assert found["rows"][0]["costs"] == {"-level": -10.0, "count": 2.0}
    assert (found["confidence"], found["share"], found["over"]) == (0.95, 0.3, "realisation")
    assert all(math.isfinite(row["share_low"]) for row in found["rows"])


def test_exit_codes(place: tuple[str, str], study_file: Write, tmp_path: Path) -> None:
    assert ask(place, "error_m <= 3.2 in 30 %").exit_code == 0
    undecided = ask(place, WISH)
    assert (
        undecided.exit_code,
        "A point needs 29 realisations at least to prove 90%" in undecided.output.replace("\n", " "),
    ) == (3, True)
    nothing = ask(place, "error_m <= 1 mm and count <= 1 in 90 %")
    assert (nothing.exit_code, "No point meets the wish" in nothing.output) == (0, True)
    with pytest.raises(UsageError, match=r"no metric and no axis 'eror_m' \(did you mean 'error_m'\?\)"):
        ask(place, "eror_m <= 3")
    with pytest.raises(UsageError, match=r"no cell of 'toy-study' is in .* yet: run `disac run"):
        ask((place[0], str(tmp_path / "empty")), WISH)
    failing = (str(study_file(('"0:40:10"', "[0, 13]"))), str(tmp_path / "failing"))
    compute(Run(*failing))
    failed = ask(failing, "error_m <= 3.2 in 30 %")
    assert (failed.exit_code, "6 cells failed" in failed.output) == (1, True)


def test_the_cube_in_memory_gives_the_answer_of_the_published_one(place: tuple[str, str]) -> None:
    published = Question(*place, (), WISH, ["level"]).answer()
    for words in ((), ("size.count=2",), ("axes.level=[0, 20]",)):
        overrides = [w for w in words if w.startswith("axes")]
        again = Question(*place, overrides, WISH, ["level"]).answer()
        assert again.counts["met"] + again.counts["undecided"] + again.counts["not_met"] == (4 if overrides else 10)
    store = Run(*place).store
    store.delete(latest_of(cube_folder("toy-study")))
    assert np.array_equal(Question(*place, (), WISH, ["level"]).answer().verdicts, published.verdicts)


def test_python_gives_the_answer_of_the_command(place: tuple[str, str]) -> None:
    answer = pipeline_ask(open_store(place[1])["toy-study/cube"], WISH, minimise="level")
    assert answer.counts == Question(*place, (), WISH, ["level"]).answer().counts
    assert str(answer)


def test_a_published_cube_that_is_damaged_is_told_with_its_folder(place: tuple[str, str]) -> None:
    version = open_store_backend(place[1]).read_pointer(latest_of(cube_folder("toy-study")))
    about = Path(place[1]) / str(version) / "error_m" / "zarr.json"
    about.write_bytes(about.read_bytes().replace(b"float64", b"floar64"))  # of the same size
    with pytest.raises(SurroundingsError, match=r"'cubes/toy-study/versions/.*' in the store is damaged"):
        ask(place, WISH)


def test_decide_computes_what_is_missing_and_later_questions_see_it(place: tuple[str, str], threads: None) -> None:
    before = published_key(Run(*place).store, cube_folder("toy-study"))
    toy.COUNTED.clear()
    result = ask(place, WISH, "--minimise", "-level,count", "--decide")
    computed = len(toy.COUNTED)
    assert (result.exit_code, "0 undecided" in result.output) == (0, True)
    assert "4 points to decide; 24 cells of 4, up to 9 realisations of a point" in result.output
    assert re.search(r"\* +10 dB +2 +36 of 36 +90\.3%", result.output)
    # Points that are infeasible in three of three are refuted: none of their realisations is computed.
    assert {level for level, _, _ in toy.COUNTED} <= {0.0, 10.0, 20.0}
    assert computed == len(set(toy.COUNTED)) <= 3 * 36
    toy.COUNTED.clear()
    again = ask(place, WISH, "--minimise", "-level,count")
    assert result.output.endswith(again.output)
    assert ask(place, WISH, "--minimise", "-level,count", "--decide").exit_code == 0
    assert toy.COUNTED == []
    # The study's own cube stays what the study says.
    assert published_key(Run(*place).store, cube_folder("toy-study")) == before
    assert open_store(place[1])["toy-study/cube"].sizes["realisation"] == 3
    assert "cube" not in Run(*place).stale()
    # Without the record the cells are still in the ledger.
    store = Run(*place).store
    store.delete(latest_of(decided_folder("toy-study")))
    assert "undecided" in ask(place, WISH).output
    assert ask(place, WISH, "--decide").exit_code == 0
    assert toy.COUNTED == []


def test_decide_for_a_part_of_the_study_is_seen_by_questions_on_the_whole(place: tuple[str, str], threads: None) -> None:
    toy.COUNTED.clear()
    assert ask(place, WISH, "--decide", "--set", "axes.level=[0]", "--set", "axes.count=[2]").exit_code == 0
    assert {(level, count) for level, count, _ in toy.COUNTED} == {(0.0, 2)}
    answer = Question(*place, (), WISH, ()).answer()
    assert answer.verdicts.sel(level=0, count=2) == 3
    assert answer.verdicts.sel(level=0, count=1) == 1


def test_decide_from_nothing_computes_the_studys_own_realisations_first(
    study_file: Write, tmp_path: Path, threads: None
) -> None:
    place = (str(study_file()), str(tmp_path / "results"))
    result = ask(place, WISH, "--decide", "--minimise", "-level,count")
    assert result.exit_code == 0
    assert "10 points to decide; 30 cells of 10, up to 3 realisations of a point" in result.output


def test_decide_ends_at_the_most_realisations(place: tuple[str, str], threads: None) -> None:
    toy.COUNTED.clear()
    result = ask(place, WISH, "--decide", "--most-realisations", "20")
    assert result.exit_code == 3
    assert max(r for _, _, r in toy.COUNTED) < 20
    assert decided_realisations(Run(*place).store, "toy-study", "draw.realisation") == 18


def test_the_cheapest_points_come_first_where_a_budget_is_short(place: tuple[str, str]) -> None:
    rounds: list[set[tuple[float, int]]] = []
    told: list[str] = []

    question = Question(*place, (), WISH, ["-count,level"])
    past = question.base.plan.ledger.cost_per_cell()
    # A quarter of this pays for six cells and a half: the next look of one point.
    allowed = 4 * 6.5 * sum(past.values()) / len(past)

    def carry_out(plan: Plan, budget: Budget) -> float:
        places = [plan.cells.coordinates(int(i)) for i in plan.todo]
        rounds.append({(place["level"], place["count"]) for place in places})
        sweep(plan, Budget())
        return allowed / 2.9

    answer = decide(question, carry_out, budget=Budget(core_seconds=allowed), tell=told.append)
    assert rounds[0] == {(0.0, 2)}  # two things cost less than one, and 0 dB less than 10 dB
    assert (len(rounds), told[-1], answer.counts["undecided"] > 0) == (3, "Stopped: the budget is spent.", True)


def test_decide_stops_where_cells_cannot_be_computed(place: tuple[str, str]) -> None:
    told: list[str] = []
    answer = decide(Question(*place, (), WISH, ()), lambda plan, budget: 0.0, tell=told.append)
    assert told[-1] == "Stopped: not all of these cells were computed."
    assert answer.counts["undecided"] > 0


def test_points_of_a_grid_with_one_realisation_stay_undecided(study_file: Write, tmp_path: Path, threads: None) -> None:
    text = '      realisation: {path: draw.realisation, values: "0:2:1"}\n'
    two = text + "  - axes:\n      level: {path: signal.level_db, values: [5]}\n      size.count: [1, 2]\n"
    place = (str(study_file((text, two))), str(tmp_path / "results"))
    compute(Run(*place))
    result = ask(place, "error_m <= 9 in 90 %", "--decide")
    answer = Question(*place, (), "error_m <= 9 in 90 %", ()).answer()
    assert result.exit_code == 0
    assert answer.verdicts.sel(level=5).values.tolist() == [1, 1]
    assert (answer.verdicts.sel(level=0) == 3).all()


def test_a_study_without_realisations_is_judged_cell_by_cell_and_cannot_be_decided(study_file: Write, tmp_path: Path) -> None:
    file = study_file(('      realisation: {path: draw.realisation, values: "0:2:1"}\n', ""), ("over: realisation, ", ""))
    place = (str(file), str(tmp_path / "results"))
    compute(Run(*place))
    assert ask(place, "error_m <= 3.2", "--minimise", "-level").exit_code == 0
    with pytest.raises(UsageError, match="has no axis of realisations: no more can be computed"):
        ask(place, "error_m <= 3.2", "--decide")
    with pytest.raises(UsageError, match="leave the share of realisations out"):
        ask(place, WISH)


def test_the_record_grows_and_one_that_lies_counts_as_absent() -> None:
    store = MemoryStore()
    for number, expected in ((9, 9), (36, 36), (18, 36)):
        record_decided(store, "toy-study", "draw.realisation", number)
        assert decided_realisations(store, "toy-study", "draw.realisation") == expected
    assert decided_realisations(store, "toy-study", "other.realisation") == 0
    removed = collect_garbage(store, older_than_s=-1e9)
    assert decided_realisations(store, "toy-study", "draw.realisation") == 36
    assert [r.name for r in removed if r.name.startswith(decided_folder("toy-study"))] != []
    for data in (b"{}", b"[", b'{"path": "draw.realisation", "realisations": -4}', b'{"path": 3, "realisations": 4}'):
        store.put_if_absent("decided/toy-study/bad.json", data)
        store.publish_pointer(latest_of(decided_folder("toy-study")), "decided/toy-study/bad.json")
        assert decided_realisations(store, "toy-study", "draw.realisation") == 0
        store.delete("decided/toy-study/bad.json")
    assert decided_realisations(store, "toy-study", "draw.realisation") == 0


def test_failed_realisations_do_not_hold_a_look_up(
    study_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    run = toy.Toy._cell

    def sometimes(self: toy.Toy, s: toy.ToyScenario, options: toy.ToyOptions) -> dict[str, object]:
        if s.draw.realisation == 7:
            raise RuntimeError("seven is refused")
        return run(self, s, options)

    monkeypatch.setattr(toy.Toy, "_cell", sometimes)
    place = (str(study_file(('"0:40:10"', "[0]"))), str(tmp_path / "results"))
    compute(Run(*place))
    result = ask(place, WISH, "--decide")
    assert result.exit_code == 1
    answer = Question(*place, (), WISH, ()).answer()
    assert (answer.counts["met"], answer.statuses[0][7]) == (2, STATUS_CODES["failed"])
    assert "2 cells failed" in result.output


@pytest.mark.slow
def test_a_real_command_decides_on_dask(
    place: tuple[str, str], disac: Callable[..., subprocess.Popen[str]]
) -> None:  # fmt: skip
    words = ("--decide", "--store", place[1], "--workers", "2", "--minimise", "-level,count")
    process = disac("ask", place[0], WISH, *words)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert "36 of 36" in out
    assert "cube" not in Run(*place).stale()


# --- the page docs/ask.md ----------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "ask.md").read_text(encoding="utf-8")


def example_cube() -> xr.Dataset:
    """The cube of the page: errors fall with nodes and bandwidth, rates with the network's SINR, and three designs differ."""
    axes = ("design", "sinr_db", "nodes", "bandwidth", "realisation")
    designs, sinr, nodes = (
        np.array(["isotropic", "orthogonal", "coherent"], dtype=object),
        np.array([0, 10, 20]),
        np.array([1, 2, 4]),
    )
    bandwidth, shape = np.array([5e6, 20e6, 80e6]), (3, 3, 3, 3, 60)
    random = np.random.default_rng(21)
    factor = np.array([1.6, 1.0, 0.7]).reshape(3, 1, 1, 1, 1)
    scale = (
        factor * (1 + sinr.reshape(1, 3, 1, 1, 1) / 40) / nodes.reshape(1, 1, 3, 1, 1) * np.sqrt(20e6 / bandwidth).reshape(3, 1)
    )
    error = 0.06 * scale * np.exp(0.15 * random.standard_normal(shape))
    rate = np.log2(1 + 10 ** (sinr.reshape(1, 3, 1, 1, 1) / 10)) * (1 + 0.02 * random.standard_normal(shape))
    reach = 14 + 3 * nodes.reshape(1, 1, 3, 1, 1) + random.standard_normal(shape)
    status = np.where(sinr.reshape(1, 3, 1, 1, 1) <= reach, STATUS_CODES["ok"], STATUS_CODES["infeasible"]).astype(np.uint8)
    there = status == STATUS_CODES["ok"]
    data = {
        "status": (axes, status),
        "rcrb_m": (axes, np.where(there, error, np.nan), {"units": "m"}),
        "se_bps_hz": (axes, np.where(there, rate, np.nan), {"units": "bit/s/Hz"}),
        "relative_gap": (axes, np.where(there, 4e-8, np.nan), {"units": "1"}),
    }
    labels = {
        "design": ("design", designs, {"path": "options.design"}), "sinr_db": ("sinr_db", sinr, {"units": "dB"}),
        "nodes": ("nodes", nodes, {"path": "node_count"}),
        "bandwidth": ("bandwidth", bandwidth, {"units": "Hz", "path": "bandwidth_hz"}), "realisation": np.arange(60),
    }  # fmt: skip
    return xr.Dataset(data, labels)


class Example(Question):
    """A question to the example cube."""

    def __init__(self, source: str, store: str, overrides: tuple[str, ...], wish: str, minimise: list[str]) -> None:
        self.wish, self.minimise = wish, tuple(minimise)
        none = SimpleNamespace(failed=np.zeros(1, bool), choice=SimpleNamespace(present=np.ones(1, bool)))
        self.base: Any = SimpleNamespace(plan=none, study=SimpleNamespace(name=source))
        self.plan: Any = none

    def answer(self) -> Answer:
        return pipeline_ask(example_cube(), self.wish, minimise=self.minimise)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", blocks("console"))
def test_commands_of_the_page_print_what_the_page_shows(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.asking, "Question", Example)
    command, _, shown = block.replace("\\\n", "").partition("\n")
    program, *words = shlex.split(command.removeprefix("$ "))
    assert program == "disac"
    output = CliRunner().invoke(app, words, env={"COLUMNS": "80"}).output
    if "..." in shown:  # the page shows the beginning
        assert output.startswith(shown.partition("...")[0])
    else:
        assert output.rstrip("\n") == shown.rstrip("\n")


def test_the_python_of_the_page_runs() -> None:
    (block,) = blocks("python")
    before, _, rest = block.partition('cube = pipeline.open_store("results")["joint/cube"]\n')
    names: dict[str, Any] = {"cube": example_cube()}
    exec(compile(before + rest, "docs/ask.md", "exec"), names)
    assert isinstance(names["answer"], Answer)
    assert (names["cheapest"], names["verdict"]) == ({"design": "coherent", "sinr_db": 20, "nodes": 4, "bandwidth": 5e6}, 3)
