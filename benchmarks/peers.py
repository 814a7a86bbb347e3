"""Sweeps of cells that do nothing, beside pipefunc and xyzpy: a run, a repeated run, and a run with one more value of an axis.

Every number is the time of a whole process, start-up included. Ours is `disac run` with cube, surfaces and report. pipefunc
runs serially and keeps each output in a file of its own. xyzpy keeps all results in memory and writes one file at the end, so a
kill loses the run. `pip install 'disac[bench]'` installs both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.registry import Row

STUDY = """\
study: peers
experiment: noop
axes: {{sinr_db: "0:{sinrs}:1", nodes: "1:{nodes}:1", realisation: "0:{realisations}:1"}}
report: {{x: sinr_db, y: v00, colour: nodes}}
"""

PIPEFUNC = """\
import json, sys
from pipefunc import PipeFunc, Pipeline
from noop import value

names = tuple(value(0.0, 1, 0))
spec = "sinr_db[i], nodes[j], realisation[k] -> " + ", ".join(f"{name}[i, j, k]" for name in names)
cell = PipeFunc(lambda sinr_db, nodes, realisation: tuple(value(sinr_db, nodes, realisation).values()), names, mapspec=spec)
axes, resume = json.loads(sys.argv[1]), sys.argv[3] == "resume"
try:
    Pipeline([cell]).map(
        axes, run_folder=sys.argv[2], parallel=False, storage="file_array", show_progress=False, resume=resume,
    ).to_xarray()
except ValueError as error:
    print("refused:", error)
    sys.exit(4)
"""

XYZPY = """\
import json, sys
import xyzpy
from noop import value

names = tuple(value(0.0, 1, 0))
runner = xyzpy.Runner(lambda **at: tuple(value(**at).values()), names, fn_args=("sinr_db", "nodes", "realisation"))
axes = json.loads(sys.argv[1])
harvester = xyzpy.Harvester(runner, data_name=sys.argv[2] + "/cube.h5")
if sys.argv[3] == "resume" and harvester.full_ds is not None:
    known = set(harvester.full_ds["realisation"].values.tolist())
    axes["realisation"] = [r for r in axes["realisation"] if r not in known]
if axes["realisation"]:
    harvester.harvest_combos(axes, verbosity=0)
"""

SIZES = {1_000: (10, 10, 10), 4_000: (20, 10, 20), 20_000: (20, 10, 100)}
Steps = dict[str, float | None]


def _timed(command: list[str], folder: Path) -> float | None:
    """Return the wall seconds of a command; None if the command refuses."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise RuntimeError(f"{command[:4]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return None if done.returncode == 4 else time.perf_counter() - started


def _ours(folder: Path, size: tuple[int, int, int]) -> Steps:
    def run(realisations: int) -> float | None:
        study = STUDY.format(sinrs=size[0] - 1, nodes=size[1], realisations=realisations - 1)
        (folder / "peers.yaml").write_text(study)
        return _timed([sys.executable, "-m", "flows.cli", "run", "peers.yaml"], folder)

    return {"run": run(size[2]), "nothing to do": run(size[2]), "extend": run(size[2] + 1)}


def _peer(script: str) -> Callable[[Path, tuple[int, int, int]], Steps]:
    def steps(folder: Path, size: tuple[int, int, int]) -> Steps:
        (folder / "peer.py").write_text(script)

        def run(realisations: int, how: str) -> float | None:
            axes = {
                "sinr_db": [float(s) for s in range(size[0])], "nodes": list(range(1, size[1] + 1)),
                "realisation": list(range(realisations)),
            }  # fmt: skip
            return _timed([sys.executable, "peer.py", json.dumps(axes), str(folder / "kept"), how], folder)

        (folder / "kept").mkdir()
        return {"run": run(size[2], "new"), "nothing to do": run(size[2], "resume"), "extend": run(size[2] + 1, "resume")}

    return steps


def peers() -> Iterator[Row]:
    """Measure whole processes of this project and of the peers, side by side."""
    others = {"pipefunc": _peer(PIPEFUNC), "xyzpy": _peer(XYZPY)}
    missing = [name for name in others if find_spec(name) is None]
    if missing:
        print(f"peers: {' and '.join(missing)} not installed; pip install 'disac[bench]'")
        return
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp()
    with tempfile.TemporaryDirectory() as name:
        _ours(Path(name), (2, 2, 2))  # the first run makes Prefect's database
    for cells, size in SIZES.items():
        found: dict[str, Steps] = {}
        for who, steps in {"ours": _ours, **others}.items():
            with tempfile.TemporaryDirectory() as name:
                found[who] = steps(Path(name), size)
        for who in others:
            for step, seconds in found["ours"].items():
                theirs, assured = found[who][step], seconds if seconds is not None else float("nan")
                what = f"{who}, whole process" if theirs is not None else f"{who} refuses"
                yield Row(f"{step} {cells:,} x 30", assured, theirs if theirs is not None else float("nan"), "s", what)


BENCHMARKS = {"peers": peers}
