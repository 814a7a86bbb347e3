"""Where the work runs: a profile becomes a connected Dask cluster. The libraries do the work; nothing here schedules."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from flows import lifecycle
from flows.profiles import (
    WORKER_ENVIRONMENT,
    AddressProfile,
    KubernetesProfile,
    LocalProfile,
    RetryPolicy,
    SlurmProfile,
    SshProfile,
    choose_profile,
    load_config,
)
from pipeline.errors import SurroundingsError, UsageError

_DEATH_TIMEOUT_S = 30
"""Workers of a killed run end by themselves after this long without a scheduler."""


_LOCAL_NICENESS = 10

STEADY_CLOCK = "pipeline.steady_clock"
"""Every process that runs a part of Dask imports it first; local and SSH workers by ``dask_config.yaml``."""


@dataclass(frozen=True)
class Cluster:
    """A connected client and words for people.

    ``most`` is what an adaptive cluster may grow to, ``retry`` what the profile says about lost workers.
    """

    client: Any
    description: str
    dashboard: str
    most: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def workers(self) -> int:
        """Worker threads to keep busy: those at hand, or for an adaptive cluster those it may grow to."""
        # An adaptive cluster grows by what waits: a window of what is at hand would hold it where it is.
        return self.most if self.most is not None else sum(self.client.nthreads().values())


@contextmanager
def connect(name: str | None, workers: int | None = None) -> Iterator[Cluster]:
    """Connect to a profile of the configuration or to an address; workers are processes with one BLAS thread each.

    Parameters
    ----------
    name
        Profile or address; the configuration's default when None.
    workers
        Number of local workers, in place of the profile's.

    Raises
    ------
    UsageError
        If there is no such profile, it is not valid, its library is missing, or no scheduler answers at the address.
    """
    profile = choose_profile(name)
    _configure_dask()
    import pipeline.steady_clock  # noqa: F401 - and with it Dask, which sets its loggers up when imported: ours comes after

    # Lost workers and schedulers are told by the sweep, in one sentence.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if isinstance(profile, AddressProfile):
        made = _at_address(profile)
    elif isinstance(profile, LocalProfile):
        made = _local(profile, workers)
    elif isinstance(profile, SshProfile):
        made = _ssh(profile)
    elif isinstance(profile, SlurmProfile):
        made = _slurm(profile)
    else:
        made = _kubernetes(profile)
    with made as cluster:
        yield replace(cluster, retry=profile.retry)


def _configure_dask() -> None:
    import dask.config

    _, content = load_config()
    dask.config.update(dask.config.config, {k: v for k, v in content.items() if k != "disac"}, priority="new")


@contextmanager
def _at_address(profile: AddressProfile) -> Iterator[Cluster]:
    from distributed import Client

    try:
        client = Client(profile.address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--cluster {profile.address}: no Dask scheduler answers there ({error})") from error
    with client:
        yield Cluster(client, f"cluster at {profile.address}", client.dashboard_link)


@contextmanager
def _local(profile: LocalProfile, workers: int | None) -> Iterator[Cluster]:
    from distributed import Client, LocalCluster, WorkerPlugin

    class Polite(WorkerPlugin):  # type: ignore[misc]
        """Workers leave the processor to whoever asks about the run, on a machine that has no core to spare."""

        def setup(self, worker: Any) -> None:
            os.setpriority(os.PRIO_PROCESS, 0, _LOCAL_NICENESS)  # this thread, and those it starts: the tasks'

    count = workers or profile.workers or os.cpu_count() or 1
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
            memory_limit=profile.memory_limit, silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.register_plugin(Polite())
        yield Cluster(client, f"{count} local worker processes", cluster.dashboard_link)


@contextmanager
def _ssh(profile: SshProfile) -> Iterator[Cluster]:
    try:
        import asyncssh
        from distributed import Client, SSHCluster
    except ImportError as error:
        raise _missing("ssh", error) from error
    options: dict[str, Any] = {"port": profile.port}
    options |= {k: v for k in ("username", "client_keys", "known_hosts") if (v := getattr(profile, k)) is not None}
    worker: dict[str, Any] = {
        "nthreads": 1, "n_workers": profile.workers_per_host, "memory_limit": profile.memory_limit,
        "death_timeout": _DEATH_TIMEOUT_S,
    }  # fmt: skip
    scheduler: dict[str, Any] = {"port": 0, "dashboard_address": ":0"}
    if profile.worker_host:
        worker["host"] = profile.worker_host
    if profile.scheduler_host:
        scheduler |= {"host": profile.scheduler_host, "dashboard_address": f"{profile.scheduler_host}:0"}
    settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in (WORKER_ENVIRONMENT | profile.environment).items())
    python = f"env {settings} {profile.python or sys.executable}"
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(
                SSHCluster(
                    list(profile.hosts),
                    connect_options=options,
                    worker_options=worker,
                    scheduler_options=scheduler,
                    remote_python=python,
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, asyncssh.Error, RuntimeError) as error:
            raise SurroundingsError(f"the SSH cluster on {', '.join(profile.hosts)} did not start: {error}") from error
        count = profile.workers_per_host * (len(profile.hosts) - 1)
        yield Cluster(client, f"{count} workers by SSH on {len(set(profile.hosts[1:]))} machines", cluster.dashboard_link)


@contextmanager
def _slurm(profile: SlurmProfile) -> Iterator[Cluster]:
    try:
        from dask_jobqueue import SLURMCluster
        from distributed import Client
    except ImportError as error:
        raise _missing("slurm", error) from error
    scheduler = {"dashboard_address": f"{profile.scheduler_host or ''}:0"}
    scheduler |= {"host": profile.scheduler_host} if profile.scheduler_host else {}
    arguments = ["--nthreads", "1", "--death-timeout", str(_DEATH_TIMEOUT_S), "--preload", STEADY_CLOCK]
    arguments += ["--host", profile.worker_host] if profile.worker_host else []
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(
                SLURMCluster(
                    cores=profile.workers_per_job,
                    processes=profile.workers_per_job,
                    memory=profile.memory_per_job,
                    walltime=profile.walltime,
                    queue=profile.queue,
                    account=profile.account,
                    python=profile.python or sys.executable,
                    job_extra_directives=profile.directives,
                    job_script_prologue=[
                        f"export {k}={shlex.quote(v)}" for k, v in (WORKER_ENVIRONMENT | profile.environment).items()
                    ],
                    worker_extra_args=arguments,
                    scheduler_options=scheduler,
                    log_directory=profile.log_directory,
                    local_directory=profile.local_directory,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, RuntimeError) as error:
            raise SurroundingsError(f"the SLURM cluster did not start: {error}") from error
        # A run that is ended by a signal has no time for an orderly close.
        stack.enter_context(lifecycle.at_the_end(lambda: _cancel_jobs(cluster)))
        # Also for a fixed number: a fixed scale never replaces a job that was cancelled.
        cluster.adapt(
            minimum_jobs=profile.minimum_jobs, maximum_jobs=profile.maximum_jobs, interval="500ms", wait_count=6,
            target_duration="1s",
        )  # fmt: skip
        most = profile.maximum_jobs * profile.workers_per_job
        words = f"{profile.minimum_jobs} to {profile.maximum_jobs} SLURM jobs of {profile.workers_per_job} workers"
        yield Cluster(client, words, cluster.dashboard_link, most)


def _cancel_jobs(cluster: Any) -> None:
    jobs = [job.job_id for job in list(cluster.workers.values()) if getattr(job, "job_id", None)]
    if jobs:
        subprocess.run(["scancel", *jobs], check=False, timeout=5, capture_output=True)


@contextmanager
def _kubernetes(profile: KubernetesProfile) -> Iterator[Cluster]:
    try:
        from dask_kubernetes.operator import KubeCluster
        from distributed import Client
    except ImportError as error:
        raise _missing("kubernetes", error) from error
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(
                KubeCluster(custom_cluster_spec=kubernetes_manifest(profile), namespace=profile.namespace)
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except Exception as error:  # the operator's client raises many kinds
            raise SurroundingsError(f"the Kubernetes cluster '{profile.name}' did not start: {error}") from error
        cluster.adapt(minimum=profile.minimum_workers, maximum=profile.maximum_workers)
        words = f"{profile.minimum_workers} to {profile.maximum_workers} pods of {profile.image}"
        yield Cluster(client, words, cluster.dashboard_link, profile.maximum_workers)


def kubernetes_manifest(profile: KubernetesProfile) -> dict[str, Any]:
    """The DaskCluster resource of a profile, as the operator takes it."""
    from dask_kubernetes.operator import make_cluster_spec

    limits = {"cpu": profile.cpu, "memory": profile.memory}
    manifest: dict[str, Any] = make_cluster_spec(
        name=profile.name, image=profile.image, n_workers=profile.minimum_workers,
        resources={"requests": limits, "limits": limits}, env=WORKER_ENVIRONMENT | profile.environment,
        worker_command=[
            "dask", "worker", "--nthreads", "1", "--death-timeout", str(_DEATH_TIMEOUT_S), "--preload", STEADY_CLOCK
        ],
    )  # fmt: skip
    for part in ("worker", "scheduler"):
        pod = manifest["spec"][part]["spec"]
        pod["volumes"] = list(profile.volumes)
        for container in pod["containers"]:
            container["volumeMounts"] = list(profile.volume_mounts)
    return manifest


def _missing(extra: str, error: ImportError) -> UsageError:
    return UsageError(f"this cluster needs a library that is not installed ({error.name}): pip install 'disac[{extra}]'")
