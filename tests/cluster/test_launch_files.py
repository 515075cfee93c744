"""What lies in cluster/ is sound by the rules of whoever reads it, and lets nobody in without the token."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from rl.cli import app
from tests.cluster.hosts import BIN, ROOT

CLUSTER = ROOT / "cluster"
KUBERAY = ("kuberay_cluster.yaml", "kuberay_job.yaml")
KUBERNETES = "1.31"
# The fields of KubeRay's resources that we use, their types and which are required, as its API reference (v1.6.2,
# ray.io/v1) has them; any other name is a mistake of ours. Pods are checked by Kubernetes' own schema.
POD: dict[str, Any] = {"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object"}}}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
CLUSTER_SPEC: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["headGroupSpec"],
    "properties": {
        "rayVersion": {"type": "string"},
        "authOptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"mode": {"enum": ["disabled", "token"]}, "secretName": {"type": "string"}},
        },
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "idleTimeoutSeconds": COUNT,
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
            },
        },
        "headGroupSpec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["rayStartParams", "template"],
            "properties": {"rayStartParams": PARAMETERS, "template": POD},
        },
        "workerGroupSpecs": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
                "properties": {
                    "groupName": {"type": "string"},
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": PARAMETERS,
                    "template": POD,
                },
            },
        },
    },
}
SPECS = {
    "RayCluster": CLUSTER_SPEC,
    "RayJob": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "entrypoint": {"type": "string"},
            "backoffLimit": COUNT,
            "shutdownAfterJobFinishes": {"type": "boolean"},
            "ttlSecondsAfterFinished": COUNT,
            "rayClusterSpec": CLUSTER_SPEC,
        },
    },
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


def groups(name: str) -> Iterator[dict[str, Any]]:
    """The head's and the workers' groups of every Ray cluster in a manifest."""
    for document in documents(name):
        spec = document["spec"].get("rayClusterSpec", document["spec"])
        if "headGroupSpec" in spec:
            yield from (spec["headGroupSpec"], *spec["workerGroupSpecs"])


@pytest.mark.parametrize("name", ["on_premise.yaml", "aws.yaml"])
def test_ray_up_files_pass_ray_s_own_check(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    [config] = documents(name)
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"worker_start_commands": []}))


def check_manifest(document: dict[str, Any]) -> None:
    if document["kind"] not in SPECS:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    assert document["apiVersion"] == "ray.io/v1" and document["metadata"]["name"]
    jsonschema.validate(document["spec"], SPECS[document["kind"]])


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_manifests_are_what_kuberay_and_kubernetes_take(name: str) -> None:
    for document in documents(name):
        check_manifest(document)
    for group in groups(name):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        pod["spec"] = pod["spec"] | {"containers": [pod["spec"]["containers"][0] | {"envForm": []}]}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    wrong = json.loads(json.dumps(documents(name)[0]).replace("workerGroupSpecs", "workerGroups"))
    with pytest.raises(jsonschema.ValidationError):
        check_manifest(wrong)


def test_the_slurm_script_passes_shellcheck() -> None:
    script = CLUSTER / "slurm.sh"
    done = subprocess.run([BIN / "shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    # The directives that sbatch reads stand before the first command, else it reads none of them.
    lines = script.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives and max(directives) < first


def test_the_container_file_names_what_there_is() -> None:
    text = (CLUSTER / "Containerfile").read_text()
    for sources in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    assert text.rindex("\nUSER ") > text.rindex("\nRUN "), "nothing runs as root in the end"
    if (hadolint := shutil.which("hadolint")) is not None:
        done = subprocess.run(
            [hadolint, "--ignore", "DL3008", "--ignore", "DL3066", CLUSTER / "Containerfile"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def open_doors(name: str, text: str) -> list[str]:
    """What in a launch file starts Ray without the token, or shows the dashboard to others than the head itself."""
    found = []
    if name in KUBERAY:
        documents = list(yaml.safe_load_all(text))
        policies = [d["spec"]["podSelector"]["matchLabels"] for d in documents if d["kind"] == "NetworkPolicy"]
        for document in documents:
            spec = document["spec"].get("rayClusterSpec", document["spec"])
            if "headGroupSpec" not in spec:
                continue
            if spec.get("authOptions") != {"mode": "token"}:
                found.append(f"{document['kind']} without authOptions")
            for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                labels = group["template"].get("metadata", {}).get("labels", {})
                labels |= {"ray.io/cluster": document["metadata"]["name"]} if document["kind"] == "RayCluster" else {}
                if not any(policy.items() <= labels.items() for policy in policies):
                    found.append(f"pods of {document['kind']} that no NetworkPolicy closes")
        return found
    whole = re.sub(r"\\?\n\s+(?=--)", " ", text)  # commands over several lines
    for line in whole.splitlines():
        if "ray start" not in line or line.lstrip().startswith("#"):
            continue
        if "RAY_AUTH_MODE=token" not in line and "export RAY_AUTH_MODE=token" not in text:
            found.append(line)
        if "--head" in line and "--dashboard-host=127.0.0.1" not in line:
            found.append(line)
    return found


@pytest.mark.parametrize("name", [*KUBERAY, "on_premise.yaml", "aws.yaml", "slurm.sh"])
def test_nothing_starts_ray_without_the_token(name: str) -> None:
    text = (CLUSTER / name).read_text()
    assert open_doors(name, text) == []
    careless = text.replace("authOptions: {mode: token}", "").replace("RAY_AUTH_MODE=token", "")
    assert open_doors(name, careless)
    assert name in KUBERAY or open_doors(name, text.replace("127.0.0.1", "0.0.0.0"))
    assert name not in KUBERAY or open_doors(
        name,
        text.replace("matchLabels: {app: ", "matchLabels: {other: ").replace(
            "matchLabels: {ray.io/cluster", "matchLabels: {other"
        ),
    )


def test_nothing_in_here_holds_a_secret() -> None:
    for path in CLUSTER.iterdir():
        text = path.read_text()
        for name in ("RAY_AUTH_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
            assert not re.search(rf"{name}[=:]\s*['\"]?\w", text), f"{path.name} gives {name} a value"


def test_what_the_readme_names_is_there() -> None:
    """Files, commands and options that cluster/README.md tells people to type."""
    text = (CLUSTER / "README.md").read_text()
    for name in re.findall(r"(?<![\w/])((?:cluster|configs|tests)/[\w./-]+\w)", text):
        assert (ROOT / name).exists(), name
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    typed = re.findall(r"fuseki ([a-z]+)", text)
    assert typed and set(typed) <= commands
    helped = {name: CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout for name in set(typed)}
    for name, options in re.findall(r"fuseki (submit|status)([^\n`]*)", text):
        for option in re.findall(r"(?<=\s)--[a-z-]+", options):
            assert option in helped[name], f"fuseki {name} {option}"
