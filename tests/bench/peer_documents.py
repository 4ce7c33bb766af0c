"""What the peer consists of in the API: nodes, an Indexed Job, and how kwok plays kubelet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NODE_PODS = 100_000
"""So that no pod waits for room: what is measured is the control plane."""

STAGES = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: node-is-ready
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - key: '.status.conditions.[] | select( .type == "Ready" ) | .status'
      operator: NotIn
      values: ["True"]
  next:
    statusTemplate: |
      conditions:
      - {type: Ready, status: "True", reason: KubeletReady, lastTransitionTime: {{ Now | Quote }}}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-is-done
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - key: '.metadata.deletionTimestamp'
      operator: DoesNotExist
    - key: '.status.phase'
      operator: In
      values: [Pending]
  next:
    statusTemplate: |
      phase: Succeeded
      startTime: {{ Now | Quote }}
"""
"""A pod ends in the same write that starts it: the least that a kubelet can ask for."""


def node(number: int) -> Mapping[str, object]:
    room = {"cpu": str(NODE_PODS), "memory": "1Ti", "pods": str(NODE_PODS)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number:03}"},
        "status": {"allocatable": room, "capacity": room},
    }


def nodes(count: int) -> Mapping[str, object]:
    every: Sequence[Mapping[str, object]] = [node(number) for number in range(count)]
    return {"apiVersion": "v1", "kind": "List", "items": every}


def indexed_job(name: str, items: int) -> Mapping[str, object]:
    """A pod an item, all at once."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "clip", "image": "none"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completionMode": "Indexed",
            "completions": items,
            "parallelism": items,
            "template": {"spec": pod},
        },
    }
