"""deploy/kubernetes is valid, and its pods are what the compose file runs: commands, variables, secrets, limits."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from starter.processes import TASK_QUEUE
from tests.deploy.compose import EXAMPLE, environment, services
from tests.locked_packages import python_environment
from tests.paths import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
SERVICES = services()
PODS = ["worker", "api", "migrate"]
VERSION = "1.33"
VALIDATE = """
import json, sys, kubernetes_validate
for each in json.load(sys.stdin):
    try:
        kubernetes_validate.validate(each, sys.argv[1], strict=True)
    except kubernetes_validate.ValidationError as error:
        print(each["kind"], each["metadata"]["name"], error.message)
"""
Json = dict[str, Any]


def objects(part: str = "base") -> Iterator[Json]:
    """Yield all objects in the files of a folder, except Kustomize's own."""
    for file in sorted((FOLDER / part).glob("*.yaml")):
        yield from (each for each in yaml.safe_load_all(file.read_text()) if "kustomize" not in each["apiVersion"])


WORKLOADS = {
    each["metadata"]["name"].removeprefix("durable-commerce-"): each
    for each in objects()
    if each["kind"] in ("Deployment", "Job")
}
KUSTOMIZATION = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())
SETTINGS = dict(line.split("=", 1) for line in (FOLDER / "base" / "settings.env").read_text().splitlines())


def pod(name: str) -> Json:
    spec: Json = WORKLOADS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Json:
    (found,) = pod(name)["containers"]
    assert isinstance(found, dict)
    return found


def secrets(name: str) -> set[str]:
    (volume,) = [each["secret"] for each in pod(name)["volumes"] if "secret" in each]
    return {item["key"] for item in volume["items"]}


def megabytes(text: str) -> int:
    return int(re.sub(r"Mi?$", "", text))


def test_every_workload_is_a_service_of_compose() -> None:
    assert sorted(WORKLOADS) == sorted(PODS)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_what_compose_runs(name: str) -> None:
    service = SERVICES[name]
    own = {each["name"]: each["value"] for each in container(name)["env"]}
    assert container(name)["args"] == service["command"]
    assert secrets(name) == set(service["secrets"])
    wanted = environment(service)
    assert wanted.keys() - own.keys() - SETTINGS.keys() - {"COMMERCE_DATA_DIR", "COMMERCE_API_HOST"} <= {
        "COMMERCE_API_PORT",
        "COMMERCE_METRICS_ADDRESS",
    }
    assert all(wanted[key] == value for key, value in own.items() if key in wanted)
    limit = (service.get("deploy") or {})["resources"]["limits"]["memory"]
    assert megabytes(container(name)["resources"]["limits"]["memory"]) == megabytes(limit)


def test_a_pod_has_as_long_to_stop_as_in_compose() -> None:
    for name in ("worker", "api"):
        pause = 5 if "lifecycle" in container(name) else 0
        wanted = int(SERVICES[name]["stop_grace_period"].removesuffix("s")) + pause
        assert pod(name)["terminationGracePeriodSeconds"] == wanted


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_rights(name: str) -> None:
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert pod(name)["securityContext"]["runAsUser"] == 10001  # as in the Dockerfile
    assert pod(name)["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_settings_are_those_of_the_example_and_name_no_stand_in() -> None:
    ours = {key for key in EXAMPLE if key.startswith("COMMERCE_")}
    assert ours <= SETTINGS.keys()
    assert not {value for value in SETTINGS.values() if "mailpit" in value or "//carrier:" in value}


def test_selectors_policies_and_autoscalers_name_existing_pods() -> None:
    names = {each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] for each in WORKLOADS.values()}
    everywhere = json.dumps(list(objects()))
    assert set(re.findall(r'"app.kubernetes.io/name": "([\w-]+)"', everywhere)) == names
    (labels,) = KUSTOMIZATION["labels"]
    assert labels == {"pairs": {"app.kubernetes.io/part-of": "durable-commerce"}, "includeTemplates": True}
    deployments = {f"durable-commerce-{name}" for name in ("worker", "api")}
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in objects() if each["kind"] == "HorizontalPodAutoscaler"}
    assert scaled == deployments
    (keda,) = objects("keda")
    (trigger,) = keda["spec"]["triggers"]
    assert keda["spec"]["scaleTargetRef"]["name"] in deployments
    assert trigger["metadata"]["taskQueue"] == TASK_QUEUE
    assert trigger["metadata"]["endpointFromEnv"] in SETTINGS


def test_the_image_is_the_one_of_this_version() -> None:
    (image,) = KUSTOMIZATION["images"]
    assert f"{image['name']}:{image['newTag']}" == SERVICES["worker"]["image"]
    assert {container(name)["image"] for name in PODS} == {image["name"]}


def test_the_objects_fit_the_schemas_of_kubernetes(run_folder: Path) -> None:
    programs = python_environment(run_folder, Path(__file__).parent / "kubernetes_schemas")
    done = subprocess.run(
        [programs / "python", "-c", VALIDATE, VERSION],
        input=json.dumps([*objects(), *built()]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_kustomize_builds_both_variants() -> None:
    if not kustomize():
        pytest.skip("kustomize (deploy/rehearsal/build-programs builds it)")
    plain, with_keda = built(), built("keda")
    assert {each["kind"] for each in plain} >= {"ConfigMap", "Deployment", "Job", "NetworkPolicy"}
    (policy,) = [
        each
        for each in plain
        if each["metadata"]["name"] == "durable-commerce" and "podSelector" in each.get("spec", {})
    ]
    for each in plain:
        if each["kind"] in ("Deployment", "Job"):
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
            ((source,),) = [c["envFrom"] for c in each["spec"]["template"]["spec"]["containers"]]
            assert source["configMapRef"]["name"] != "durable-commerce"  # with a digest of its content
    first = {each["kind"] for each in plain if each["metadata"].get("labels", {}).get("durable-commerce/apply")}
    assert first == {"ConfigMap", "Job", "NetworkPolicy", "ServiceAccount"}
    scalers = [each["metadata"]["name"] for each in with_keda if each["kind"] == "HorizontalPodAutoscaler"]
    assert scalers == ["durable-commerce-api"]


def kustomize() -> str | None:
    """Return the program, which no package brings: the system's, or the one of the rehearsal."""
    cache = os.environ.get("REHEARSAL_CACHE") or Path.home() / ".cache" / "durable-commerce-rehearsal"
    return shutil.which("kustomize", path=f"{os.environ['PATH']}:{cache}/bin")


def built(component: str | None = None) -> list[Json]:
    """Return what Kustomize builds of the base, and with a component; nothing without Kustomize."""
    if not (program := kustomize()):
        return []
    folder = FOLDER / "base" if component is None else FOLDER / f"with-{component}"
    done = subprocess.run([program, "build", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))
