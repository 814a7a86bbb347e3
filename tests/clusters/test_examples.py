"""The profiles that docs/clusters.md shows are taken as they stand, and the retry policy does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.profiles import choose_profile

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
INDENTED = [textwrap.dedent(block) for block in re.findall(r"^    disac:\n(?:    .*\n|\n)+", PAGE, flags=re.MULTILINE)]
FENCED = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL) if block.startswith("disac:")]


def profiles(block: str) -> dict[str, dict[str, object]]:
    return dict(YAML(typ="safe", pure=True).load(block)["disac"]["profiles"])


def test_every_profile_of_the_document_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lab").mkdir()
    for file in ("ca.pem", "me.pem", "me.key"):
        (tmp_path / "lab" / file).touch(mode=0o600)
    for block in INDENTED + FENCED:
        monkeypatch.setenv("DISAC_CONFIG", str(tmp_path / "dask_config.yaml"))
        (tmp_path / "dask_config.yaml").write_text(block)
        for name in profiles(block):
            choose_profile(name)
            names.append(name)
    assert {"slurm", "machines", "cloud", "lab"} <= set(names)


@pytest.mark.slow
def test_the_retry_policy_of_the_document_holds_in_a_run(disac: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    (shown,) = (found["slurm"]["retry"] for found in map(profiles, INDENTED) if "retry" in found.get("slurm", {}))
    assert shown == {"attempts": 3, "other_host": True}
    policy = {"kind": "local", "retry": {**shown, "attempts": 2}}
    settings = {"scheduler": {"allowed-failures": 0, "worker-saturation": 1.0}}
    config = json.dumps({"disac": {"profiles": {"here": policy}}, "distributed": settings})
    study = tmp_path / "study.yaml"
    study.write_text("study: toy-study\nexperiment: poison\naxes: {kind: [killed, good]}\nreport: {y: real}\n")
    run = disac("run", str(study), "--store", str(tmp_path / "r"), "--cluster", "here", config=config)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 1, out + err
    status = disac("status", str(study), "--store", str(tmp_path / "r"), "--json")
    told = json.loads(status.communicate(timeout=60)[0])
    (failed,) = told["failed_cells"]
    assert failed["message"].startswith("The cell lost its worker 2 times (SIGKILL from outside")
    assert failed["message"].endswith("The next run tries it again.")
    assert told["compute"] == 1
