"""Run the benchmarks: ``python -m benchmarks [pattern]``; writes benchmarks/results.json."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

_HERE = Path(__file__).parent
_PLUGIN = str(_HERE / "plugin")


def main() -> None:
    """Run the benchmarks that match the pattern and print a line per result."""
    # This is set before NumPy is imported: each side of a comparison has one core.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    from flows.settings import prepare_environment

    prepare_environment()
    sys.path.insert(0, _PLUGIN)
    os.environ["PYTHONPATH"] = os.pathsep.join([_PLUGIN, *filter(None, [os.environ.get("PYTHONPATH")])])
    from benchmarks import asking, common, designs, engine, peers, position_bounds, report, robust, surfaces
    from pipeline.environment import environment

    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    rows = []
    benchmarks = engine.BENCHMARKS | peers.BENCHMARKS | report.BENCHMARKS | designs.BENCHMARKS | robust.BENCHMARKS
    benchmarks |= common.BENCHMARKS | surfaces.BENCHMARKS | asking.BENCHMARKS | position_bounds.BENCHMARKS
    for name, benchmark in benchmarks.items():
        if pattern in name:
            for row in benchmark():
                print(row.line(), flush=True)
                rows.append(asdict(row))
    results = {"environment": environment(), "rows": rows}
    (_HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
