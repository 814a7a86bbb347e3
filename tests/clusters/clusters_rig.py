"""Rigs on this machine: an SSH server and a single-node SLURM, each in a folder of its own and gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest


def install(packages: str, program: str) -> None:
    """Install Debian packages unless their program is there; skip with the reason where that cannot be."""
    if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"{program} is not installed, and installing {packages} needs root and apt-get")
    policy = Path("/usr/sbin/policy-rc.d")
    mine = not policy.exists()
    if mine:  # package scripts start no daemons
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        command = ["apt-get", "install", "-y", "--no-install-recommends", *packages.split()]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for before in ([], ["apt-get", "update"]):
            if before:
                subprocess.run(before, env=environment, capture_output=True, timeout=300, check=False)
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode == 0:
                return
    finally:
        if mine:
            policy.unlink(missing_ok=True)
    pytest.skip(f"{packages} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[dict[str, object]]:
    """An SSH server on 127.0.0.1; yields what a profile needs to log in."""
    if os.geteuid() != 0:
        pytest.skip("an SSH server of its own needs root")
    install("openssh-server", "sshd")
    folder, port = tmp_path / "sshd", free_port()
    folder.mkdir(mode=0o700)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "key.pub", folder / "auth")
    kind, key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/sshd.pid\n"
        f"AuthorizedKeysFile {folder}/auth\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
    )
    server = shutil.which("sshd", path="/usr/sbin:/sbin")
    assert server is not None
    process = subprocess.Popen([server, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
    wait_for(lambda: _answers(port), 10.0, "sshd does not answer")
    yield {"port": port, "username": "root", "client_keys": [str(folder / "key")], "known_hosts": str(folder / "known_hosts")}
    process.terminate()
    process.wait(timeout=10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Slurm:
    """A running single-node SLURM."""

    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
        )  # fmt: skip
        return done.stdout.strip()

    def jobs(self, state: str = "RUNNING,PENDING,COMPLETING") -> list[str]:
        return self.ask("squeue", "-h", "-o", "%i", "-t", state).split()


SLURM_CONF = """\
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A SLURM of one node with four slots, without systemd."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM of its own needs root")
    install("slurmctld slurmd slurm-client munge", "slurmctld")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "log", "munge"):
        (folder / name).mkdir(mode=0o755)
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(folder=folder, ports=(free_port(), free_port())))
    munge = folder / "munge"
    environment = {"SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    running = os.environ | environment
    # munged insists on folders that nobody else may write, up to the root.
    for parent in folder.parents:
        if parent.stat().st_mode & 0o022 and not parent.stat().st_mode & 0o1000:
            pytest.skip(f"{parent} is writable by others: munge refuses it")
    munged = [f"--{name}-file={munge}/munge.{end}" for name, end in (("key", "key"), ("pid", "pid"), ("log", "log"))]
    for command in (
        ["mungekey", "-c", "-k", str(munge / "munge.key")],
        ["munged", f"--socket={munge}/munge.sock", *munged, f"--seed-file={munge}/munge.seed", "--force"],
        ["slurmctld", "-c", "-f", str(conf)],
        ["slurmd", "-c", "-N", "localhost", "-f", str(conf)],
    ):
        program = shutil.which(command[0], path=environment["PATH"])
        assert program is not None, command
        subprocess.run([program, *command[1:]], env=running, check=True, timeout=30, stdout=subprocess.DEVNULL)
    rig = Slurm(environment)
    wait_for(lambda: rig.ask("sinfo", "-h", "-o", "%T") == "idle", 30.0, "SLURM does not become idle")
    yield rig
    rig.ask("scancel", "--user=root")
    wait_for(lambda: not rig.jobs(), 20.0, "jobs are left")
    rig.ask("scontrol", "shutdown")
    for file in (munge / "munge.pid", folder / "slurmctld.pid", folder / "slurmd.pid"):
        if file.exists() and psutil.pid_exists(int(file.read_text())):
            psutil.Process(int(file.read_text())).terminate()


def wait_for(ready: Callable[[], bool], patience_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)
