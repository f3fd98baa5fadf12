"""Checks of RayJobs without a Kubernetes cluster.

Pods and config maps are checked by Kubernetes' own schemas, unknown keys refused. KubeRay's own resource definitions
are in no package index, so the fields of a RayJob around the pods are those of KubeRay's API reference (version 1.6:
https://docs.ray.io/en/master/cluster/kubernetes/references/api.html), by hand.
"""

import re
from typing import Any

import jsonschema
import kubernetes_validate

KUBERNETES = "1.34"
_COUNT = {"type": "integer", "minimum": 0}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
_TEMPLATE = {
    "type": "object",
    "required": ["spec"],
    "additionalProperties": False,
    "properties": {"metadata": {"type": "object"}, "spec": {"type": "object"}},
}


def _fields(required: list[str], **properties: object) -> dict[str, object]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


_HEAD = _fields(["rayStartParams", "template"], rayStartParams=_PARAMETERS, template=_TEMPLATE)
_WORKERS = _fields(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName={"type": "string"},
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    idleTimeoutSeconds=_COUNT,
    rayStartParams=_PARAMETERS,
    template=_TEMPLATE,
)
_CLUSTER = _fields(
    ["headGroupSpec"],
    rayVersion={"type": "string"},
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_fields([], idleTimeoutSeconds=_COUNT, upscalingMode={"enum": ["Default", "Conservative"]}),
    authOptions=_fields(["mode"], mode={"enum": ["disabled", "token"]}),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
_RAYJOB = _fields(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_fields(["name"], name={"type": "string"}),
    spec=_fields(
        ["entrypoint", "rayClusterSpec"],
        entrypoint={"type": "string"},
        backoffLimit=_COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=_COUNT,
        activeDeadlineSeconds=_COUNT,
        rayClusterSpec=_CLUSTER,
    ),
)


def check_rayjob(job: dict[str, Any]) -> None:
    """Raises if a field is unknown, missing or of another type, or a pod is none."""
    jsonschema.validate(job, _RAYJOB)
    name = job["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), name
    assert len(name) <= 47, name  # KubeRay's limit
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        check(pod)
        container = pod["spec"]["containers"][0]
        assert container["name"] == ("ray-head" if group is cluster["headGroupSpec"] else "ray-worker")
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group.get("replicas", 0) <= group["maxReplicas"]


def check(resource: dict[str, Any]) -> None:
    """Checks a resource of Kubernetes by its own schema; unknown keys are refused."""
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)
