"""Clusters on other machines, by SSH, SLURM or Kubernetes. Dask and its libraries schedule the tasks; this module does not."""

from __future__ import annotations

import contextlib
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dask.utils import parse_bytes

from flows import lifecycle
from flows.connected import PATIENT, Cluster
from flows.profiles import WORKER_ENVIRONMENT, KubernetesProfile, SlurmProfile, SshProfile
from flows.resources import offered
from flows.transport import credential_files, described, own_scratch
from pipeline.errors import SurroundingsError, UsageError

_DEATH_TIMEOUT_S = 30
"""Seconds without a scheduler after which the workers of a killed run end by themselves."""

_DASHBOARD = "127.0.0.1:0"
"""Address of the dashboard. The dashboard checks no user, so it is reachable on the scheduler's machine only."""

STEADY_CLOCK = "pipeline.steady_clock"
"""Module that every process with a part of Dask imports first; ``dask_config.yaml`` names it for local and SSH workers."""


@contextmanager
def ssh(profile: SshProfile) -> Iterator[Cluster]:
    try:
        import asyncssh
        import dask.config
        from distributed import Client, Security, SSHCluster
    except ImportError as error:
        raise _missing("ssh", error) from error
    options: dict[str, Any] = {"port": profile.port}
    options |= {k: v for k in ("username", "client_keys", "known_hosts") if (v := getattr(profile, k)) is not None}
    memory = None if profile.memory_limit == "auto" else parse_bytes(profile.memory_limit)
    worker: dict[str, Any] = {
        "nthreads": 1, "n_workers": profile.workers_per_host, "memory_limit": profile.memory_limit,
        "death_timeout": _DEATH_TIMEOUT_S, "resources": offered(profile.resources, memory), **_listen(profile, "worker"),
    }  # fmt: skip
    scheduler: dict[str, Any] = {"port": 0, "dashboard_address": _DASHBOARD, **_listen(profile, "scheduler")}
    settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in (WORKER_ENVIRONMENT | profile.environment).items())
    python = f"env {settings} {profile.python or sys.executable}"
    hosts = ", ".join(dict.fromkeys(profile.hosts))
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(PATIENT))
        files = _files(profile, stack)
        try:
            cluster = stack.enter_context(
                SSHCluster(
                    list(profile.hosts),
                    connect_options=options,
                    worker_options=worker | files,
                    scheduler_options=scheduler | files,
                    remote_python=python,
                    security=Security(**files.get("security", {})),
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, asyncssh.Error, RuntimeError) as error:
            asked = f"do all have the interface '{profile.interface}'" if profile.interface else "do all have their address"
            asked += f" and see the certificates in {profile.tls_folder}" if files else ""
            raise SurroundingsError(f"the SSH cluster on {hosts} did not start: {error} ({asked}?)") from error
        count = profile.workers_per_host * (len(profile.hosts) - 1)
        words = f"{count} workers by SSH on {len(set(profile.hosts[1:]))} machines"
        port = client.scheduler_info()["services"]["dashboard"]
        there = f"{_link(port)} on {profile.hosts[0]} (ssh -L {port}:127.0.0.1:{port} {profile.hosts[0]})"
        yield Cluster(client, described(words, not profile.insecure), there)


def _link(port: int) -> str:
    return f"http://127.0.0.1:{port}/status"


def _listen(profile: SshProfile | SlurmProfile, part: str) -> dict[str, str]:
    """Return the address or interface on which scheduler or workers listen.

    A profile that names neither was refused when it was read.
    """
    host: str | None = getattr(profile, f"{part}_host")
    return {"host": host} if host else {"interface": str(profile.interface)}


def _files(profile: SshProfile | SlurmProfile, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Return ``security`` as paths of files that all machines see while the stack is open; empty without encryption."""
    return {} if profile.insecure else {"security": stack.enter_context(credential_files(profile.tls_folder))}


@contextmanager
def slurm(profile: SlurmProfile) -> Iterator[Cluster]:
    try:
        from dask_jobqueue import SLURMCluster
        from distributed import Client, Security
    except ImportError as error:
        raise _missing("slurm", error) from error
    offer = offered(profile.resources, parse_bytes(profile.memory_per_job) // profile.workers_per_job)
    arguments = ["--nthreads", "1", "--death-timeout", str(_DEATH_TIMEOUT_S), "--preload", STEADY_CLOCK]
    # Workers have dashboards, too, and by default `dask worker` opens them on all interfaces.
    arguments += ["--no-dashboard", "--dashboard-address", _DASHBOARD, "--resources", _assignments(offer)]
    arguments += [word for k, v in _listen(profile, "worker").items() for word in (f"--{k}", v)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_scratch())
        files = _files(profile, stack)
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
                    scheduler_options={"dashboard_address": _DASHBOARD, **_listen(profile, "scheduler")},
                    security=Security(**files["security"]) if files else None,
                    log_directory=profile.log_directory,
                    local_directory=profile.local_directory,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, RuntimeError, ValueError) as error:
            raise SurroundingsError(f"the SLURM cluster did not start: {error}") from error
        # A run that a signal ends has no time for an orderly close.
        stack.enter_context(lifecycle.at_the_end(lambda: _cancel_jobs(cluster)))
        # The scale is adaptive even for a fixed number of jobs, because a fixed scale never replaces a cancelled job.
        cluster.adapt(
            minimum_jobs=profile.minimum_jobs, maximum_jobs=profile.maximum_jobs, interval="500ms", wait_count=6,
            target_duration="1s",
        )  # fmt: skip
        most = profile.maximum_jobs * profile.workers_per_job
        words = f"{profile.minimum_jobs} to {profile.maximum_jobs} SLURM jobs of {profile.workers_per_job} workers"
        link = _link(client.scheduler_info()["services"]["dashboard"])
        yield Cluster(client, described(words, not profile.insecure), link, most, offer)


def _assignments(offer: Mapping[str, float]) -> str:
    return ",".join(f"{name}={amount:.17g}" for name, amount in offer.items())


def _cancel_jobs(cluster: Any) -> None:
    jobs = [job.job_id for job in list(cluster.workers.values()) if getattr(job, "job_id", None)]
    if jobs:
        subprocess.run(["scancel", *jobs], check=False, timeout=5, capture_output=True)


@contextmanager
def kubernetes(profile: KubernetesProfile) -> Iterator[Cluster]:
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
        # Dask's operator has no certificates: only the network of the pods protects the connections.
        words, offer = described(words, encrypted=False), _kubernetes_offer(profile)
        yield Cluster(client, words, cluster.dashboard_link, profile.maximum_workers, offer)


def _kubernetes_offer(profile: KubernetesProfile) -> dict[str, float]:
    return offered(profile.resources, parse_bytes(profile.memory))


def kubernetes_manifest(profile: KubernetesProfile) -> dict[str, Any]:
    """Return the DaskCluster resource of a profile, as the operator accepts it."""
    from dask_kubernetes.operator import make_cluster_spec

    limits = {"cpu": profile.cpu, "memory": profile.memory}
    manifest: dict[str, Any] = make_cluster_spec(
        name=profile.name, image=profile.image, n_workers=profile.minimum_workers,
        resources={"requests": limits, "limits": limits}, env=WORKER_ENVIRONMENT | profile.environment,
        worker_command=[
            "dask", "worker", "--nthreads", "1", "--death-timeout", str(_DEATH_TIMEOUT_S), "--preload", STEADY_CLOCK,
            "--resources", _assignments(_kubernetes_offer(profile)),
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
