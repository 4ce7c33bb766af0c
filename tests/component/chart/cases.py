"""Values of the chart, and what it makes of them: snapshots/NAME.yaml. The kinds' CRDs are left out.

python -m tests.component.chart.cases    writes the snapshots; read the diff, it is what clusters will get
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from voxfleet_dev.chart import render

SNAPSHOTS = Path(__file__).parent / "snapshots"
RELEASE, NAMESPACE = "voxfleet", "voxfleet-system"
CASES: Mapping[str, Mapping[str, object]] = {
    "defaults": {},
    "namespaced": {
        "watchNamespaces": ["speech", "research"],
        "fleetSecrets": {"names": ["fleet-ssh", "mac-01"]},
        "credentialNamespaces": [{"namespace": "speech", "secretNames": ["s3-calls", "s3-results"]}],
        "rbac": {"aggregate": False},
        "archive": {"uri": "file:///archive", "claim": "ledger"},
        "gateway": {
            "enabled": True,
            "fleetSecrets": ["fleet-ssh", "mac-01-sessions"],
            "keySecrets": [{"namespace": "speech", "secretNames": ["captions-keys"]}],
        },
    },
    "everything": {
        "fullnameOverride": "vox",
        "image": {"repository": "registry.example/voxfleet", "digest": "sha256:" + "a" * 64},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 3,
        "fleetSecrets": {"all": True},
        "serviceAccount": {"name": "vox-operator", "annotations": {"team": "speech"}},
        "operator": {"lostMarginSeconds": 90, "logFormat": "text", "extraArgs": ["--retry-limit=3"]},
        "priceBook": {"configMap": "prices", "key": "2026.yaml"},
        "archive": {"uri": "s3://ledger/fleet", "credentialsSecret": "archive-keys"},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "networkPolicy": {
            "egress": {
                "enabled": True,
                "apiServer": ["10.0.0.1/32"],
                "macs": ["10.1.0.0/24"],
                "archive": ["10.2.0.0/24"],
            }
        },
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "gateway": {
            "enabled": True,
            "replicas": 3,
            "url": "https://speech.example",
            "maxSessions": 64,
            "drainSeconds": 300,
            "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
            "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
            "extraArgs": ["--log-format=text"],
        },
    },
    "least": {
        "replicas": 1,
        "rbac": {"create": False, "aggregate": False},
        "serviceAccount": {"create": False, "name": "given"},
        "networkPolicy": {"enabled": False},
        "metrics": {"service": {"enabled": False}},
    },
}


def snapshot(values: Mapping[str, object]) -> str:
    manifests = render(RELEASE, NAMESPACE, {**values, "crds": {"enabled": False}})
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)


if __name__ == "__main__":
    for name, values in CASES.items():
        (SNAPSHOTS / f"{name}.yaml").write_text(snapshot(values))
