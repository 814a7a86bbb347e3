"""Named clusters of ``dask_config.yaml``: the keys that each kind accepts, and errors that name file, key and value."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import psutil
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import UsageError, broken_rule, near_miss

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432",
}  # fmt: skip
"""Environment of workers that may have no ``dask_config.yaml``: one BLAS thread, and memory kept for the next large array."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RetryPolicy(_Strict):
    """Policy for a cell that is alone on its worker and loses the worker from outside (rule W3)."""

    attempts: int = Field(3, ge=1, description="how often such a cell is tried in one run")
    other_host: bool = Field(True, description="whether the cell is tried on another machine, if there is one")


class _Profile(_Strict):
    retry: RetryPolicy = Field(RetryPolicy(), description="what is done with a cell whose worker was lost")


ResourceName = Annotated[str, Field(pattern=r"^[A-Za-z][\w.-]*$")]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Started(_Profile):
    """A cluster that the run starts itself."""

    insecure: bool = Field(False, description="true: connections are not encrypted, and nobody has to prove who they are")
    resources: dict[ResourceName, Amount] = Field(
        default_factory=dict, description="resources that each worker offers, e.g. GPU: 1"
    )


class LocalProfile(_Started):
    """Worker processes on this machine."""

    kind: Literal["local"]
    workers: int | None = Field(None, ge=1, description="number of worker processes; null: one per core")
    memory_limit: str = Field("auto", description="memory limit of each worker, such as 4GB; auto: Dask's own limit")


class AddressProfile(_Profile):
    """A Dask scheduler that already runs."""

    kind: Literal["address"]
    address: str = Field(pattern="://", description="address of the scheduler, such as tls://10.0.0.1:8786")
    ca_file: str | None = Field(None, description="certificate of the authority that signed the scheduler's certificate")
    cert_file: str | None = Field(None, description="certificate that the run shows to the scheduler")
    key_file: str | None = Field(None, description="key of cert_file; null: the key is in cert_file")

    @model_validator(mode="after")
    def _certified(self) -> Self:
        files = {name: value for name in ("ca_file", "cert_file", "key_file") if (value := getattr(self, name)) is not None}
        for name, value in files.items():
            if not self.address.startswith("tls://"):
                raise ValueError(f"{name} {value!r} is for an address that begins with tls://, this is {self.address}")
            if not Path(value).expanduser().is_file():
                raise ValueError(f"{name}: there is no file {value!r}")
        if files and not {"ca_file", "cert_file"} <= set(files):
            raise ValueError("give ca_file and cert_file together, and key_file if the key is in a separate file")
        return self


class _Remote(_Started):
    interface: str | None = Field(None, description="network interface that scheduler and workers listen on, e.g. ib0")
    tls_folder: str = Field("~/.disac/tls", description="folder for the certificate of the run; all machines must see it")
    python: str | None = Field(None, description="path of Python on the workers; null: the path of the Python that runs here")
    environment: dict[str, str] = Field(default_factory=dict, description="environment variables of the workers")
    scheduler_host: str | None = Field(None, description="address that the scheduler listens on, in place of an interface")
    worker_host: str | None = Field(None, description="address that the workers listen on, in place of an interface")

    @model_validator(mode="after")
    def _named(self) -> Self:
        """Require an interface or two hosts, so that nothing listens on all interfaces by oversight."""
        if self.interface is None and not (self.scheduler_host and self.worker_host):
            here = "; ".join(f"{name} ({address})" for name, address in interfaces().items())
            raise ValueError(
                "name the network interface that scheduler and workers listen on, such as `interface: "
                f"{next(iter(interfaces()), 'eth0')}`, or scheduler_host and worker_host; this machine has {here}"
            )
        return self


class SshProfile(_Remote):
    """Machines that are reached by SSH; the store must be a folder that all of them see."""

    kind: Literal["ssh"]
    hosts: list[str] = Field(min_length=2, description="machines; the first one runs the scheduler, the others run workers")
    workers_per_host: int = Field(1, ge=1)
    memory_limit: str = Field("auto", description="memory limit of each worker, such as 4GB; auto: Dask's own limit")
    username: str | None = None
    port: int = Field(22, ge=1, le=65535)
    client_keys: list[str] | None = Field(None, description="files with private keys; null: SSH chooses")
    known_hosts: str | None = Field(None, description="file of known hosts; null: SSH's own file")


class SlurmProfile(_Remote):
    """SLURM jobs through dask-jobqueue; the scheduler runs beside the flow."""

    kind: Literal["slurm"]
    minimum_jobs: int = Field(0, ge=0)
    maximum_jobs: int = Field(10, ge=1)
    workers_per_job: int = Field(1, ge=1)
    memory_per_job: str = "4GB"
    walltime: str = Field("01:00:00", pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")
    queue: str | None = None
    account: str | None = None
    directives: list[str] = Field(default_factory=list, description="further lines for sbatch, e.g. --constraint=fast")
    log_directory: str | None = None
    local_directory: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> SlurmProfile:
        if self.minimum_jobs > self.maximum_jobs:
            raise ValueError(f"minimum_jobs {self.minimum_jobs} exceeds maximum_jobs {self.maximum_jobs}")
        return self


class KubernetesProfile(_Started):
    """Pods through the Dask operator; the image holds this package, the store is a volume that all pods mount."""

    kind: Literal["kubernetes"]
    image: str
    name: str = Field("disac", pattern=r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$")
    namespace: str = "default"
    minimum_workers: int = Field(0, ge=0)
    maximum_workers: int = Field(10, ge=1)
    cpu: str = "1"
    memory: str = "4Gi"
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[dict[str, Any]] = Field(default_factory=list, description="volumes of the pods, as Kubernetes has them")
    volume_mounts: list[dict[str, Any]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _ordered(self) -> KubernetesProfile:
        if self.minimum_workers > self.maximum_workers:
            raise ValueError(f"minimum_workers {self.minimum_workers} exceeds maximum_workers {self.maximum_workers}")
        return self


def interfaces() -> dict[str, str]:
    """Return this machine's network interfaces with their IPv4 addresses; interfaces that reach other machines are first."""
    found = {
        name: address.address
        for name, addresses in psutil.net_if_addrs().items() for address in addresses if address.family == socket.AF_INET
    }  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: item[1].startswith("127.")))


Profile = LocalProfile | AddressProfile | SshProfile | SlurmProfile | KubernetesProfile
_KINDS: dict[str, type[_Profile]] = {
    "local": LocalProfile, "address": AddressProfile, "ssh": SshProfile, "slurm": SlurmProfile,
    "kubernetes": KubernetesProfile,
}  # fmt: skip
_ANY: TypeAdapter[Profile] = TypeAdapter(Annotated[Profile, Field(discriminator="kind")])


def config_file() -> Path:
    """Return the `dask_config.yaml` in force: that of DISAC_CONFIG, else of the current folder, else the installed one."""
    named = os.environ.get("DISAC_CONFIG")
    here = Path(__file__).resolve().parent
    candidates = (
        [Path(named)] if named else [Path("dask_config.yaml"), here.parent / "dask_config.yaml", here / "dask_config.yaml"]
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UsageError(f"no Dask configuration: {candidates[0]} does not exist")


def load_config() -> tuple[Path, dict[str, Any]]:
    """Return the configuration file in force and its content.

    Raises
    ------
    UsageError
        If the file is no YAML mapping.
    """
    file = config_file()
    try:
        content = YAML(typ="safe", pure=True).load(file) or {}
    except YAMLError as error:
        raise UsageError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected a mapping, found {type(content).__name__}")
    return file, content


def choose_profile(name: str | None) -> Profile:
    """Return the profile that ``--cluster NAME`` means: an address, or a name in the configuration.

    Without a name it is the configuration's default.

    Raises
    ------
    UsageError
        If the profile does not exist or is not valid.
    """
    if name is not None and "://" in name:
        return AddressProfile(kind="address", address=name)
    file, content = load_config()
    section = content.get("disac") or {}
    if not isinstance(section, dict) or set(section) - {"cluster", "profiles"}:
        wrong = sorted(set(section) - {"cluster", "profiles"}) if isinstance(section, dict) else [section]
        raise UsageError(f"{file}: disac: {wrong[0]!r} is not known{near_miss(str(wrong[0]), ('cluster', 'profiles'))}; "
                         "accepted: cluster, profiles")  # fmt: skip
    profiles = section.get("profiles") or {"local": {"kind": "local"}}
    chosen = name or section.get("cluster") or "local"
    if chosen not in profiles:
        raise UsageError(
            f"--cluster {chosen}: no such profile in {file}{near_miss(chosen, profiles)}; there are {', '.join(profiles)}, or "
            "give an address such as tls://10.0.0.1:8786"
        )
    return _validated(file, chosen, profiles[chosen])


def _validated(file: Path, name: str, content: Any) -> Profile:
    try:
        return _ANY.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        # The first part of a location inside a profile is the kind of the profile.
        path = ".".join(str(part) for part in first["loc"][1:])
        accepted = ""
        if first["type"] == "extra_forbidden":
            fields = _fields(_KINDS[content["kind"]], first["loc"][1:-1])
            accepted = f"{near_miss(str(first['loc'][-1]), fields)}; accepted: {', '.join(fields)}"
        place = f"disac.profiles.{name}" + (f".{path}" if path else "")
        found = "" if first["type"] == "value_error" else f", found {first['input']!r}"
        raise UsageError(f"{file}: {place}: {broken_rule(first)}{found}{accepted}") from error


def _fields(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a profile, or its part at ``path``, accepts."""
    for part in path:
        model = cast(type[BaseModel], model.model_fields[str(part)].annotation)
    return list(model.model_fields)
