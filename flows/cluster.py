"""Start the Dask cluster that a profile describes, or connect to it. Dask schedules the tasks; this module does not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows import remote
from flows.connected import PATIENT, Cluster
from flows.profiles import AddressProfile, LocalProfile, Profile, SlurmProfile, SshProfile, choose_profile, load_config
from flows.resources import offered
from flows.transport import credentials, described, own_scratch, self_signed
from pipeline.errors import UsageError

_LOCAL_NICENESS = 10


@contextmanager
def connect(name: str | None, workers: int | None = None, *, insecure: bool = False) -> Iterator[Cluster]:
    """Connect to the cluster of a profile or of an address. Workers are processes with one BLAS thread each.

    Parameters
    ----------
    name
        Profile or address; if None, the configuration's default.
    workers
        Number of local workers, in place of the profile's.
    insecure
        Whether connections are not encrypted; this counts over the profile.

    Raises
    ------
    UsageError
        If there is no such profile, it is not valid, its library is missing, or no scheduler answers at the address.
    """
    profile = choose_profile(name)
    if insecure:
        profile = _without_encryption(profile)
    _configure_dask()
    import pipeline.steady_clock  # noqa: F401 - it imports Dask, which sets up its loggers then: we set ours afterwards

    # The sweep reports lost workers and schedulers, in one sentence.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if isinstance(profile, AddressProfile):
        made = _at_address(profile)
    elif isinstance(profile, LocalProfile):
        made = _local(profile, workers)
    elif isinstance(profile, SshProfile):
        made = remote.ssh(profile)
    elif isinstance(profile, SlurmProfile):
        made = remote.slurm(profile)
    else:
        made = remote.kubernetes(profile)
    with made as cluster:
        yield replace(cluster, retry=profile.retry)


def _without_encryption(profile: Profile) -> Profile:
    if not isinstance(profile, AddressProfile):
        return profile.model_copy(update={"insecure": True})
    if profile.address.startswith("tls://"):
        raise UsageError(f"--insecure: the address {profile.address} means an encrypted connection")
    return profile


def _configure_dask() -> None:
    import dask.config

    _, content = load_config()
    dask.config.update(dask.config.config, {k: v for k, v in content.items() if k != "disac"}, priority="new")


@contextmanager
def _at_address(profile: AddressProfile) -> Iterator[Cluster]:
    from distributed import Client, Security

    files = {
        f"tls_{name}": str(Path(file).expanduser())
        for name, file in (("ca_file", profile.ca_file), ("client_cert", profile.cert_file), ("client_key", profile.key_file))
        if file is not None
    }  # fmt: skip
    encrypted, security = profile.address.startswith("tls://"), Security(**files)
    if encrypted and not (security.tls_ca_file and security.tls_client_cert):
        raise UsageError(f"--cluster {profile.address}: a tls:// address needs certificates: the keys ca_file, cert_file and "
                         "key_file of a profile, or distributed.comm.tls in Dask's own configuration")  # fmt: skip
    try:
        client = Client(profile.address, timeout="10s", set_as_default=False, security=security)
    except (OSError, ValueError) as error:
        raise UsageError(f"--cluster {profile.address}: no Dask scheduler answers there ({error})") from error
    with client:
        yield Cluster(client, described(f"cluster at {profile.address}", encrypted), client.dashboard_link)


@contextmanager
def _local(profile: LocalProfile, workers: int | None) -> Iterator[Cluster]:
    import dask.config
    from distributed import Client, LocalCluster, Security, WorkerPlugin
    from distributed.worker_memory import parse_memory_limit

    class Polite(WorkerPlugin):  # type: ignore[misc]
        """Lower the priority of the workers, so that commands about the run get the processor even if no core is free."""

        def setup(self, worker: Any) -> None:
            os.setpriority(os.PRIO_PROCESS, 0, _LOCAL_NICENESS)  # of this thread, and of the tasks' threads that it starts

    count = workers or profile.workers or os.cpu_count() or 1
    memory = parse_memory_limit(profile.memory_limit, 1, count, logger=logging.getLogger(__name__))
    security = Security() if profile.insecure else Security(**credentials(*self_signed()))
    with (
        dask.config.set(PATIENT),
        own_scratch(),
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
            memory_limit=memory, silence_logs=logging.CRITICAL, security=security, resources=offered(profile.resources, memory),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.register_plugin(Polite())
        yield Cluster(client, described(f"{count} local worker processes", not profile.insecure), cluster.dashboard_link)
