"""Placement on a cluster's head node, which is no spot instance as other nodes may be."""

import ray

_RESOURCE = "node:__internal_head__"
"""Resource that Ray gives the head node alone."""


def on_head() -> dict[str, object]:
    """Options of a Ray task or actor that keep it on the head node; none where Ray does not name the head.

    If the head node dies, all of Ray is lost in any case.
    """
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {"resources": {_RESOURCE: 0.001}} if _RESOURCE in resources else {}
