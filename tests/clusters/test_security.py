"""Who may connect: nobody without the run's certificate. What listens: 127.0.0.1, or the interface that a profile names."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters_rig import Slurm, wait_for
from distributed import Client, Security

from flows.cluster import connect
from flows.connected import Cluster
from flows.transport import credential_files, credentials, own_folder, self_signed
from pipeline.errors import SurroundingsError, UsageError

Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]

PLAIN = "its connections are not encrypted, and whoever reaches a port of it can run code as you"


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISAC_CONFIG", raising=False)


def profile(tmp_path: Path, **keys: Any) -> str:
    """Write a configuration with one profile; its name."""
    (tmp_path / "dask_config.yaml").write_text(json.dumps({"disac": {"profiles": {"rig": keys}}}))
    return "rig"


@pytest.fixture(scope="module")
def local() -> Iterator[Cluster]:
    with connect(None, 1) as cluster:
        yield cluster


def refuse_strangers(cluster: Cluster) -> None:
    """No address of a cluster answers without its certificate, not even with one of the same name; with it, each does."""
    mine = cluster.client.security
    cluster.client.wait_for_workers(1, timeout=60)  # a job may have been replaced
    workers = cluster.client.scheduler_info()["workers"]
    addresses = [cluster.client.scheduler.address, *workers, *(w["nanny"] for w in workers.values())]
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("tls://")
        host, port = address.removeprefix("tls://").rsplit(":", 1)
        assert shakes_hands(host, int(port), mine)
        assert not shakes_hands(host, int(port), Security(**credentials(*self_signed())))
        assert not shakes_hands(host, int(port), Security.temporary())
        assert not shakes_hands(host, int(port), None)
        assert not said_in_plain(host, int(port))
    for address, security in (
        (addresses[0].replace("tls:", "tcp:"), None),
        (addresses[0], Security(**credentials(*self_signed()))),
    ):
        with pytest.raises((OSError, TypeError)):
            Client(address, security=security, timeout="1s", set_as_default=False)


def shakes_hands(host: str, port: int, security: Security | None) -> bool:
    """Whether a server talks to a client that shows this certificate, or none, and does not ask for the server's."""
    context = security.get_connection_args("client")["ssl_context"] if security else ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=5) as raw, context.wrap_socket(raw) as wrapped:
            return len(wrapped.recv(1)) > 0  # Dask's servers speak first, to whom they trust
    except OSError:
        return False


def said_in_plain(host: str, port: int) -> bytes:
    """What a server says to whoever opens a connection without encryption."""
    with socket.create_connection((host, port), timeout=5) as raw:
        raw.sendall(b"\0" * 64)
        try:
            return raw.recv(1000)
        except ConnectionResetError:
            return b""


def test_a_local_cluster_refuses_whoever_has_not_its_certificate(local: Cluster) -> None:
    assert local.client.submit(abs, -3).result(timeout=20) == 3
    refuse_strangers(local)
    assert "not encrypted" not in local.description


def listeners(pids: set[int]) -> dict[tuple[str, int], int]:
    """Addresses that processes listen on, with the pid."""
    found = {}
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections("all")
        except psutil.Error:
            continue
        for one in connections:
            if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and one.laddr and not one.raddr):
                found[one.laddr.ip, one.laddr.port] = pid
    return found


def tree(pid: int) -> set[int]:
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


@pytest.mark.slow
def test_nothing_of_a_run_listens_but_on_loopback_or_shows_a_key(disac: Start, study_file: Write, tmp_path: Path) -> None:
    """Scheduler, nannies, workers, dashboard and Prefect's server, from start to end."""
    study = study_file(('"0:40:10"', '"14:28.8:0.4"'), ("experiment: toy", "experiment: toy\noptions: {act: sleep}"))
    run = disac("run", str(study), "--store", str(tmp_path / "results"), "--workers", "2", config="{}", own_server=True)
    seen: dict[tuple[str, int], int] = {}
    shown: list[str] = []
    while run.poll() is None:
        seen |= listeners(tree(run.pid))
        shown += keys_shown()
        time.sleep(0.1)
    out, err = run.communicate()
    assert run.returncode == 0, out + err
    assert {ip for ip, _ in seen} == {"127.0.0.1"}
    # The run itself: scheduler, dashboard, two nannies; each worker: itself and its health page; and Prefect's server.
    pids = list(seen.values())
    assert pids.count(run.pid) >= 4, seen
    assert len({pid for pid in pids if pids.count(pid) == 2}) >= 2, seen
    assert len(set(pids)) >= 4, seen
    assert not shown
    assert "not encrypted" not in out


SECRET = re.compile(rb"PRIVATE KEY|DASK_INTERNAL_INHERIT_CONFIG=\"?([A-Za-z0-9_=-]+)")


def keys_shown(*texts: bytes) -> list[str]:
    """Processes with a private key, or one of these texts, in their command line or environment, Dask's own coding undone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                content = (process / name).read_bytes()
            except OSError:
                continue
            for match in SECRET.finditer(content):
                content += base64.urlsafe_b64decode(match[1]) if match[1] else b""
            if any(text in content for text in (b"PRIVATE KEY", *texts)):
                found.append(f"{process.name}/{name}")
    return found


def test_a_key_that_is_shown_would_be_found() -> None:
    """Positive control of the scan, for all the ways that a key could travel."""
    key = self_signed()[1]
    hidden = base64.urlsafe_b64encode(json.dumps({"distributed": {"comm": {"tls": key}}}).encode()).decode()
    for arguments, environment in (
        ([key], {}),
        ([], {"KEY": key}),
        ([f'env DASK_INTERNAL_INHERIT_CONFIG="{hidden}"'], {}),
        ([], {"DASK_INTERNAL_INHERIT_CONFIG": hidden}),
    ):
        code = "input()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], env=os.environ | environment, stdin=subprocess.PIPE
        )  # fmt: skip
        try:
            wait_for(lambda: any(f"{process.pid}/" in one for one in keys_shown()), 5.0, "not found")  # noqa: B023
        finally:
            process.communicate(b"\n")


def test_the_local_key_is_in_no_command_line_and_no_environment(local: Cluster) -> None:
    lines = local.client.security.tls_client_key.splitlines()
    assert not keys_shown(lines[1].encode(), base64.b64encode(lines[1].encode()))


@pytest.mark.slow
def test_insecure_says_so(tmp_path: Path) -> None:
    for by_profile in (True, False):
        name = profile(tmp_path, kind="local", workers=1, insecure=by_profile)
        with connect(name, insecure=not by_profile) as cluster:
            assert cluster.description == f"1 local worker processes; {PLAIN}"
            address = cluster.client.scheduler.address
            assert address.startswith("tcp://127.0.0.1:")
            with connect(address) as other:
                assert other.description == f"cluster at {address}; {PLAIN}"
                assert other.client.submit(abs, -3).result(timeout=20) == 3


@pytest.mark.slow
def test_the_command_says_what_insecure_means(disac: Start, study_file: Write, tmp_path: Path) -> None:
    arguments = (str(study_file()), "--store", str(tmp_path / "results"), "--workers", "1", "--insecure")
    run = disac("run", *arguments, config="{}")
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, out + err
    assert f"1 local worker processes; {PLAIN}" in " ".join(out.split())


def test_an_address_with_tls_takes_certificates_from_the_profile_or_from_dask(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, security = local.client.scheduler.address, local.client.security
    without = "--cluster tls://.* needs certificates: the keys ca_file, cert_file and key_file"
    with pytest.raises(UsageError, match=without), connect(address):
        pass
    with pytest.raises(UsageError, match=r"--insecure: the address tls://"), connect(address, insecure=True):
        pass
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_text(security.tls_client_cert + security.tls_client_key)
    other.write_text("".join(self_signed()))
    name = profile(tmp_path, kind="address", address=address, ca_file=str(mine), cert_file=str(mine))
    with connect(name) as cluster:
        assert cluster.description == f"cluster at {address}"
        assert cluster.client.submit(abs, -3).result(timeout=20) == 3
    name = profile(tmp_path, kind="address", address=address, ca_file=str(other), cert_file=str(other))
    with pytest.raises(UsageError, match="no Dask scheduler answers there"), connect(name):
        pass


# --- certificates and folders of one run -----------------------------------------------------------------------------


def test_a_certificate_is_valid_whatever_the_clocks_say() -> None:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(self_signed()[0].encode())
    assert certificate.not_valid_before_utc.year == 1970
    assert certificate.not_valid_after_utc.year == 9999
    assert self_signed()[1] != self_signed()[1]


def test_key_files_are_for_their_owner_and_end_with_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "tls"
    with credential_files(str(folder)) as paths:
        for path in {Path(p) for k, p in paths.items() if k != "require_encryption"}:
            assert path.stat().st_mode & 0o777 == 0o600
            assert path.parent.stat().st_mode & 0o777 == 0o700
            assert path.parent.parent == folder
        Security(**paths).get_connection_args("client")
    assert not list(folder.iterdir())


def test_a_folder_that_others_can_write_to_is_refused_for_keys(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for folder in (open_to_all, open_to_all / "mine"):
        with (
            pytest.raises(UsageError, match=f"tls_folder {folder}: others can write to {open_to_all}, "),
            credential_files(str(folder)),
        ):
            pass
    open_to_all.chmod(0o1777)
    with credential_files(str(open_to_all / "mine")):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from flows.transport import own_folder
from flows import lifecycle
lifecycle.end_on_signals("")
with own_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_folder_of_a_run_is_gone_whatever_ends_it(tmp_path: Path, how: signal.Signals) -> None:
    holders = [subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        folders = [Path(h.stdout.readline().strip()) for h in holders if h.stdout]
        holders[0].send_signal(how)
        holders[0].wait(timeout=20)
        with own_folder(tmp_path) as mine:  # the next run removes what a killed one has left, and nothing of those that live
            assert set(tmp_path.iterdir()) == {mine, folders[1]}
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_what_is_not_a_runs_folder_is_left_alone(tmp_path: Path) -> None:
    with own_folder(tmp_path) as mine:
        prefix = mine.name.removesuffix(mine.name.rsplit("-", 1)[1])
    target = tmp_path / "target"
    target.mkdir()
    (target / "alive").touch()
    (tmp_path / f"{prefix}link").symlink_to(target)
    (tmp_path / f"{prefix}empty").mkdir()
    before = set(tmp_path.iterdir())
    with own_folder(tmp_path):
        pass
    assert set(tmp_path.iterdir()) == before
    assert (target / "alive").exists()


def test_workers_keep_their_scratch_where_nobody_else_can_write(local: Cluster) -> None:
    """Dask imports modules from there."""
    (folder,) = local.client.run(lambda dask_worker: dask_worker.local_directory).values()
    own = next(p for p in Path(folder).parents if p.name.startswith("disac-run-"))
    assert own.stat().st_mode & 0o777 == 0o700
    assert own.stat().st_uid == os.geteuid()


# --- other machines --------------------------------------------------------------------------------------------------


def daemons() -> set[int]:
    """Dask's processes by SSH or SLURM, with all that they started."""
    found: set[int] = set()
    for process in psutil.process_iter(["cmdline"]):
        if re.search(r"distributed\.cli\.dask_(spec|worker)", " ".join(process.info["cmdline"] or [])):
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= tree(process.pid)
    return found


def keep_to_loopback_and_show_nothing(cluster: Cluster, folder: Path) -> None:
    refuse_strangers(cluster)
    (own,) = folder.iterdir()
    key = own / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert own.stat().st_mode & 0o777 == 0o700
    heard = listeners(daemons() | {os.getpid()})
    assert len(heard) >= 4, heard
    assert {ip for ip, _ in heard} == {"127.0.0.1"}
    line = key.read_text().splitlines()[1].encode()
    assert not keys_shown(line, base64.b64encode(line))


REMOTE: tuple[dict[str, object], ...] = (
    {"interface": "lo"},
    {"scheduler_host": "127.0.0.1", "worker_host": "127.0.0.1"},
)


@pytest.mark.slow
@pytest.mark.parametrize("where", REMOTE, ids=["interface", "hosts"])
def test_ssh_refuses_whoever_has_not_its_certificate(sshd: dict[str, object], tmp_path: Path, where: dict[str, object]) -> None:
    more = {"environment": {"PYTHONPATH": os.environ["PYTHONPATH"]}, "tls_folder": str(tmp_path / "tls"), **sshd, **where}
    with connect(profile(tmp_path, kind="ssh", hosts=["127.0.0.1"] * 3, resources={"GPU": 1}, **more)) as cluster:
        assert cluster.client.submit(abs, -3).result(timeout=30) == 3
        assert cluster.executor({"GPU": 1}).submit(abs, -3).result(timeout=30) == 3
        assert "not encrypted" not in cluster.description
        link, ssh = cluster.dashboard.split(" on 127.0.0.1 ")
        with urllib.request.urlopen(link.replace("/status", "/health"), timeout=10) as answer:
            assert answer.status == 200
        assert re.fullmatch(r"\(ssh -L (\d+):127.0.0.1:\1 127.0.0.1\)", ssh)
        keep_to_loopback_and_show_nothing(cluster, tmp_path / "tls")
    assert not list((tmp_path / "tls").iterdir())
    wait_for(lambda: not daemons(), 15.0, "processes are left")


@pytest.mark.slow
def test_ssh_without_encryption_says_so_and_puts_down_no_key(sshd: dict[str, object], tmp_path: Path) -> None:
    more = {"environment": {"PYTHONPATH": os.environ["PYTHONPATH"]}, "tls_folder": str(tmp_path / "tls"), **sshd}
    with connect(profile(tmp_path, kind="ssh", hosts=["127.0.0.1"] * 2, interface="lo", insecure=True, **more)) as cluster:
        assert cluster.description == f"1 workers by SSH on 1 machines; {PLAIN}"
        assert cluster.client.scheduler.address.startswith("tcp://127.0.0.1:")
        assert not (tmp_path / "tls").exists()


@pytest.mark.slow
def test_ssh_says_what_may_be_wrong_when_a_machine_has_no_such_interface(sshd: dict[str, object], tmp_path: Path) -> None:
    name = profile(tmp_path, kind="ssh", hosts=["127.0.0.1"] * 2, interface="ib9", tls_folder=str(tmp_path / "tls"), **sshd)
    sentence = f"SSH cluster on 127.0.0.1 did not start: .*have the interface 'ib9' and see the certificates in {tmp_path}/tls"
    with pytest.raises(SurroundingsError, match=sentence), connect(name):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("where", REMOTE, ids=["interface", "hosts"])
def test_slurm_refuses_whoever_has_not_its_certificate(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: dict[str, object]
) -> None:
    for variable, value in slurm.environment.items():
        monkeypatch.setenv(variable, value)
    (tmp_path / "logs").mkdir()
    name = profile(
        tmp_path, kind="slurm", minimum_jobs=1, maximum_jobs=1, workers_per_job=2, memory_per_job="2GB", resources={"GPU": 1},
        environment={"PYTHONPATH": os.environ["PYTHONPATH"]}, tls_folder=str(tmp_path / "tls"),
        log_directory=str(tmp_path / "logs"), local_directory=str(tmp_path / "scratch"), **where,
    )  # fmt: skip
    with connect(name) as cluster:
        cluster.client.wait_for_workers(2, timeout=60)
        offers = [worker["resources"] for worker in cluster.client.scheduler_info()["workers"].values()]
        assert offers == [{"memory": 1e9, "GPU": 1.0}] * 2
        assert cluster.offer == offers[0]
        assert cluster.executor({"memory": 1e9, "GPU": 1}).submit(abs, -3).result(timeout=30) == 3
        keep_to_loopback_and_show_nothing(cluster, tmp_path / "tls")
    assert not list((tmp_path / "tls").iterdir())
    wait_for(lambda: not slurm.jobs(), 20.0, "jobs are left")
