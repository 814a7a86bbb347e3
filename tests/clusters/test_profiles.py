"""Profiles of dask_config.yaml: what is refused, and manifests that the Kubernetes operator's own schema accepts."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from flows.profiles import (
    WORKER_ENVIRONMENT,
    AddressProfile,
    KubernetesProfile,
    LocalProfile,
    RetryPolicy,
    SlurmProfile,
    choose_profile,
)
from flows.remote import kubernetes_manifest
from pipeline.errors import UsageError


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def write(text: str) -> None:
        (tmp_path / "dask_config.yaml").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("DISAC_CONFIG", raising=False)

    return write


def test_the_configuration_that_comes_along_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISAC_CONFIG", raising=False)
    assert choose_profile(None) == LocalProfile(kind="local")
    assert choose_profile("tcp://10.0.0.1:8786") == AddressProfile(kind="address", address="tcp://10.0.0.1:8786")


def test_the_examples_in_the_configuration_are_valid(configured: Any) -> None:
    text = (Path(__file__).parent.parent.parent / "dask_config.yaml").read_text()
    lines = [line.replace("#   ", "    ", 1) if line.startswith("#   ") else line for line in text.splitlines()]
    configured("\n".join(lines))
    names = list(YAML(typ="safe", pure=True).load("\n".join(lines))["disac"]["profiles"])
    assert names == ["local", "lab", "machines", "slurm", "cloud"]
    assert {choose_profile(name).kind for name in names} == {"local", "address", "ssh", "slurm", "kubernetes"}


def test_workers_have_one_environment_wherever_they_run() -> None:
    """Local and SSH workers take it from the file, others from the job or pod."""
    content = YAML(typ="safe", pure=True).load(Path(__file__).parent.parent.parent / "dask_config.yaml")
    written = content["distributed"]["nanny"]["pre-spawn-environ"]
    assert {name: str(value) for name, value in written.items()} == WORKER_ENVIRONMENT


def test_a_configuration_without_profiles_runs_here(configured: Any) -> None:
    configured("distributed: {}\n")
    assert choose_profile(None).kind == "local"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("disac: {profiles: {slurm: {kind: slurm}}}", "slrum", r"no such profile in .* \(did you mean 'slurm'\?\)"),
        ("disac: {profiles: {a: {kind: slurm, maximum_job: 3, interface: lo}}}", "a",
         r"disac.profiles.a.maximum_job: .*found 3 \(did you mean 'maximum_jobs'\?\); accepted: retry, insecure"),
        ("disac: {profiles: {a: {kind: slurm, maximum_jobs: two}}}", "a", r"disac.profiles.a.maximum_jobs: .*'two'"),
        ("disac: {profiles: {a: {kind: slurm, interface: lo, minimum_jobs: 5, maximum_jobs: 3}}}", "a", "jobs 5 exceeds"),
        ("disac: {profiles: {a: {kind: pbs}}}", "a", r"'local', 'address', 'ssh', 'slurm', 'kubernetes'"),
        ("disac: {profiles: {a: {kind: ssh, hosts: [one]}}}", "a", r"disac.profiles.a.hosts: .*at least 2"),
        ("disac: {profiles: {a: {kind: address, address: here}}}", "a", "disac.profiles.a.address"),
        ("disac: {profiles: {a: {kind: local, retry: {attempts: 0}}}}", "a",
         "disac.profiles.a.retry.attempts: .*greater than or equal to 1, found 0"),
        ("disac: {profiles: {a: {kind: local, retry: {attempt: 2}}}}", "a",
         r"disac.profiles.a.retry.attempt: .*found 2 \(did you mean 'attempts'\?\); accepted: attempts, other_host"),
        ("disac: {profiles: {a: {kind: slurm}}}", "a",
         r"disac.profiles.a: name the network interface that .*`interface: \w+`, or .*this machine has .*lo \(127.0.0.1\)$"),
        ("disac: {profiles: {a: {kind: ssh, hosts: [a, b], scheduler_host: a}}}", "a", "profiles.a: name the network"),
        ("disac: {profiles: {a: {kind: slurm, interfaces: ib0}}}", "a", r"profiles.a.interfaces: .*mean 'interface'\?"),
        ("disac: {profiles: {a: {kind: local, insecure: yes please}}}", "a", "insecure: .*bool.*found 'yes please'"),
        ("disac: {profiles: {a: {kind: local, resources: {GPU: 0}}}}", "a", "profiles.a.resources.GPU: .*than 0, found 0"),
        ("disac: {profiles: {a: {kind: local, resources: {GPU: .inf}}}}", "a", "profiles.a.resources.GPU: .*finite.*found inf"),
        ("disac: {profiles: {a: {kind: local, resources: {'a b': 1}}}}", "a", "profiles.a.resources.a b.*found 'a b'"),
        ("disac: {profiles: {a: {kind: local, resources: [GPU]}}}", "a", r"profiles.a.resources: .*dict.*, found \['GPU'\]"),
        ("disac: {profiles: {a: {kind: address, address: 'tls://a:1', ca_file: x.pem, cert_file: x.pem}}}", "a",
         "profiles.a: ca_file: there is no file 'x.pem'"),
        ("disac: {profiles: {a: {kind: address, address: 'tcp://a:1', ca_file: /dev/null}}}", "a",
         "profiles.a: ca_file '/dev/null' is for an address that begins with tls://, this is tcp://a:1"),
        ("disac: {profiles: {a: {kind: address, address: 'tls://a:1', cert_file: dask_config.yaml}}}", "a",
         "profiles.a: give ca_file and cert_file together"),
        ("disac: {profils: {}}", None, r"'profils' is not known \(did you mean 'profiles'\?\)"),
        ("[1, 2]", None, "expected a mapping, found list"),
        ("disac: {", None, "dask_config.yaml"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_by_file_key_and_value(
    configured: Any, text: str, name: str | None, message: str
) -> None:
    configured(text)
    with pytest.raises(UsageError, match=message):
        choose_profile(name)


@pytest.mark.parametrize("profile", [
    "kind: local", "kind: address, address: 'tcp://a:1'", "kind: ssh, hosts: [a, b], interface: ib0",
    "kind: slurm, scheduler_host: a, worker_host: b",
    "kind: kubernetes, image: i",
])  # fmt: skip
def test_every_kind_of_profile_takes_a_retry_policy(configured: Any, profile: str) -> None:
    configured(f"disac: {{profiles: {{a: {{{profile}, retry: {{attempts: 1, other_host: false}}}}, b: {{{profile}}}}}}}")
    assert choose_profile("a").retry == RetryPolicy(attempts=1, other_host=False)
    assert choose_profile("b").retry == RetryPolicy(attempts=3, other_host=True)


def test_a_walltime_is_checked_before_a_job_is_sent() -> None:
    for good in ("00:20:00", "2-12:00:00"):
        assert SlurmProfile(kind="slurm", interface="lo", walltime=good).walltime == good
    with pytest.raises(ValueError, match="walltime"):
        SlurmProfile(kind="slurm", interface="lo", walltime="20 minutes")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The operator's schema of a DaskCluster, made strict: unknown keys are errors."""
    spec = importlib.util.find_spec("dask_kubernetes")
    if spec is None or spec.origin is None:
        pytest.skip("dask-kubernetes is not installed")
    crds = Path(spec.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    resource = YAML(typ="safe", pure=True).load(crds)
    whole: dict[str, Any] = resource["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    whole["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    _tighten(whole)
    return whole


def _tighten(node: Any) -> None:
    if isinstance(node, dict):
        if node.pop("x-kubernetes-int-or-string", False):
            node.pop("anyOf", None)
            node["type"] = ["integer", "string"]
        if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _tighten(value)
    elif isinstance(node, list):
        for value in node:
            _tighten(value)


def manifest() -> dict[str, Any]:
    profile = KubernetesProfile(
        kind="kubernetes", image="registry.example.org/disac:0.1.0", minimum_workers=2, maximum_workers=20,
        environment={"EXTRA": "1"}, volumes=[{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}],
        volume_mounts=[{"name": "store", "mountPath": "/store"}],
    )  # fmt: skip
    return kubernetes_manifest(profile)


def test_the_kubernetes_manifest_keeps_to_the_operators_schema(schema: dict[str, Any]) -> None:
    made = manifest()
    jsonschema.Draft7Validator(schema).validate(made)
    worker = made["spec"]["worker"]
    assert worker["replicas"] == 2
    container = worker["spec"]["containers"][0]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    assert settings == WORKER_ENVIRONMENT | {"EXTRA": "1"}
    assert container["args"][:4] == ["dask", "worker", "--nthreads", "1"]
    assert container["volumeMounts"][0]["mountPath"] == "/store"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("worker", "replicas"), "two"),
        (("worker", "spec", "containers", 0, "imge"), "x"),
        (("scheduler", "service", "ports", 0), {"name": "http"}),
        (("worker", "spec", "volumes", 0), {"claim": "store"}),
    ],
)
def test_the_schema_check_would_notice(schema: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    """Positive controls: a manifest spoiled in one place is refused."""
    made = copy.deepcopy(manifest())
    place = made["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(made)
