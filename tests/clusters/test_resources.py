"""What a task needs and what workers offer: tasks go where they fit, and a run whose tasks fit nowhere says so."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster, get_worker
from hypothesis import given
from hypothesis import strategies as st
from toy import Toy

from flows.cluster import connect
from flows.connected import Cluster
from flows.profiles import choose_profile
from flows.resources import at_once, needed, offered
from pipeline.errors import UsageError

Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]

DOCS = (Path(__file__).parent.parent.parent / "docs" / "clusters.md").read_text()


@dataclass(frozen=True)
class Needy(Toy):
    name: str = "needy"
    resources: Any = field(default_factory=dict)


def test_an_experiment_without_resources_needs_nothing() -> None:
    assert needed(Toy()) == {}
    assert needed(Needy(resources={"memory": 4e9, "GPU": 1})) == {"memory": 4e9, "GPU": 1.0}


@pytest.mark.parametrize(
    "wrong", [[1], {"GPU": 0}, {"GPU": -1}, {"GPU": "one"}, {1: 1}, {"GPU": math.inf}, {"GPU": math.nan}, None]
)
def test_resources_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match=re.escape(f"experiment 'needy': resources: found {wrong!r}; accepted: a mapping")):
        needed(Needy(resources=wrong))


AMOUNTS = st.dictionaries(st.sampled_from(["memory", "GPU", "disk"]), st.floats(1e-3, 1e12))


@given(AMOUNTS, AMOUNTS, st.integers(1, 64))
def test_what_runs_at_once_fits_and_one_more_does_not(offer: dict[str, float], need: dict[str, float], threads: int) -> None:
    count = at_once(offer, need, threads)
    assert 0 <= count <= threads
    assert all(count * amount <= offer.get(name, 0.0) for name, amount in need.items())
    more = (count + 1) * (1 + 1e-12)
    assert count == threads or any(more * amount > offer.get(name, 0.0) for name, amount in need.items())


def test_memory_is_offered_without_a_word_and_a_profile_may_say_otherwise() -> None:
    assert offered({"GPU": 2.0}, 10**9) == {"memory": 1e9, "GPU": 2.0}
    assert offered({"memory": 5e8}, 10**9) == {"memory": 5e8}
    assert offered({}, None) == {}


@pytest.fixture(scope="module")
def uneven() -> Iterator[Cluster]:
    """A worker with two GPUs on 127.0.0.1, and one with none on 127.0.0.2; two threads each."""
    workers = {
        number: {"cls": Nanny, "options": {"host": host, "nthreads": 2, "resources": offer, "dashboard_address": f"{host}:0"}}
        for number, (host, offer) in enumerate([("127.0.0.1", {"GPU": 2, "memory": 1e9}), ("127.0.0.2", {"memory": 2e9})])
    }
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "dashboard": False}
    with (
        SpecCluster(workers, {"cls": Scheduler, "options": options}, silence_logs=50) as made,
        Client(made, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=30)
        yield Cluster(client, "two workers", "")


def where() -> str:
    return str(get_worker().address.split("//")[1].split(":")[0])


@pytest.mark.parametrize(
    ("resources", "avoid", "hosts"),
    [
        ({"GPU": 1}, set(), {"127.0.0.1"}),
        ({"memory": 1.5e9}, set(), {"127.0.0.2"}),
        ({}, {"127.0.0.1"}, {"127.0.0.2"}),
        ({}, {"127.0.0.2"}, {"127.0.0.1"}),
        ({"GPU": 1}, {"127.0.0.1"}, {"127.0.0.1"}),
        ({"memory": 1e9}, {"127.0.0.1"}, {"127.0.0.2"}),
    ],
)
def test_tasks_go_where_they_fit_and_elsewhere_than_where_they_were_lost(
    uneven: Cluster, resources: dict[str, float], avoid: set[str], hosts: set[str]
) -> None:
    executor = uneven.executor(resources, frozenset(avoid))
    assert {executor.submit(where).result(timeout=30) for _ in range(8)} == hosts


def test_a_task_runs_even_where_every_host_lost_one(uneven: Cluster) -> None:
    executor = uneven.executor(avoid_hosts=frozenset({"127.0.0.1", "127.0.0.2"}))
    assert executor.submit(abs, -3).result(timeout=30) == 3


@pytest.mark.parametrize(
    ("resources", "count"),
    [({}, 4), ({"GPU": 1}, 2), ({"GPU": 2}, 1), ({"memory": 1e9}, 3), ({"memory": 1.5e9}, 1), ({"GPU": 1, "memory": 1e9}, 1)],
)
def test_the_window_counts_what_can_run_at_once(uneven: Cluster, resources: dict[str, float], count: int) -> None:
    assert uneven.workers(resources) == count
    assert uneven.granted(Needy(resources=resources)) == resources


def test_no_more_tasks_run_at_once_than_resources_allow(uneven: Cluster) -> None:
    def busy(_: int) -> tuple[float, float]:
        begun = time.monotonic()
        time.sleep(0.1)
        return begun, time.monotonic()

    executor = uneven.executor({"GPU": 2})
    spans = sorted(future.result(timeout=30) for future in [executor.submit(busy, i) for i in range(4)])
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))


def test_what_fits_nowhere_is_refused_in_a_sentence(uneven: Cluster) -> None:
    with pytest.raises(UsageError) as refused:
        uneven.granted(Needy(resources={"GPU": 1, "memory": 1.5e9}))
    assert str(refused.value) == (
        "experiment 'needy': one task needs GPU 1, memory 1.40 GiB, and no worker offers that; workers offer GPU 2, memory "
        "0.93 GiB or memory 1.86 GiB. What a worker offers is the key `resources` of the profile, such as "
        "`resources: {GPU: 1}`; memory is offered up to the worker's memory limit"
    )


def test_a_cluster_that_grows_is_judged_by_what_its_workers_will_offer() -> None:
    growing = Cluster(client=None, description="", dashboard="", most=6, offer={"GPU": 1.0})
    assert growing.granted(Needy(resources={"GPU": 1})) == {"GPU": 1.0}
    assert growing.workers({"GPU": 1.0}) == 6
    with pytest.raises(UsageError, match="no worker offers that; workers offer GPU 1"):
        growing.granted(Needy(resources={"GPU": 2}))


# --- the example of docs/clusters.md ---------------------------------------------------------------------------------


def snippet(language: str) -> str:
    section = DOCS.split("## What a task needs")[1].split("\n## ")[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(found)


def test_the_documents_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dask_config.yaml").write_text(snippet("yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISAC_CONFIG", raising=False)
    experiment = type("Example", (Toy,), {})
    exec(snippet("python"), {}, space := {})
    for name, value in space.items():
        setattr(experiment, name, value)
    assert choose_profile("gpus").kind == "local"
    with connect("gpus") as cluster:
        resources = cluster.granted(experiment())
        assert resources == {"memory": 1e9, "GPU": 1.0}
        assert cluster.workers(resources) == 2
        assert cluster.executor(resources).submit(abs, -3).result(timeout=30) == 3


@pytest.mark.slow
def test_a_run_whose_tasks_fit_nowhere_ends_with_a_sentence(disac: Start, study_file: Write, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "needy-1.dist-info").mkdir(parents=True)
    (site / "needy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: needy\nVersion: 1\n")
    (site / "needy-1.dist-info" / "entry_points.txt").write_text("[disac.experiments]\nneedy = needy:experiment\n")
    (site / "needy.py").write_text(
        "from dataclasses import dataclass\nfrom toy import Toy\n\n\n@dataclass(frozen=True)\nclass Needy(Toy):\n"
        "    name: str = 'needy'\n    modules: tuple[str, ...] = ('needy', 'toy')\n"
        f"    {snippet('python')}\n\nexperiment = Needy()\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]])}
    study = str(study_file(("experiment: toy", "experiment: needy")))
    for text, code in ((snippet("yaml").replace("GPU: 1", "TPU: 1"), 2), (snippet("yaml"), 0)):
        run = disac(
            "run", study, "--store", str(tmp_path / "results"), "--cluster", "gpus", config=text, environment=environment
        )  # fmt: skip
        out, err = run.communicate(timeout=120)
        assert run.returncode == code, out + err
        assert ("disac: experiment 'needy': one task needs GPU 1, memory 0.93 GiB, and no worker" in err) == (code == 2)
        assert "Traceback" not in err
