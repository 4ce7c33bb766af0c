"""Valid objects of every kind, to be changed in one place by a case."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

Json = dict[str, object]
API_VERSION = "voxfleet.dev/v1alpha1"
HOST_KEY = "ssh-ed25519 " + "A" * 68

CONTRACT: Json = {
    "apiVersion": API_VERSION,
    "kind": "VoiceContract",
    "metadata": {"name": "case"},
    "spec": {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}},
}
JOB: Json = {
    "apiVersion": API_VERSION,
    "kind": "AudioBatchJob",
    "metadata": {"name": "case"},
    "spec": {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"manifest": {"uri": "file:///data/manifest.jsonl"}},
        "output": {"uri": "file:///data/results/"},
    },
}
SPEAK: Json = {
    "apiVersion": API_VERSION,
    "kind": "AudioBatchJob",
    "metadata": {"name": "case"},
    "spec": {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "task": "Synthesize",
        "synthesis": {"mode": "Preset", "voice": "default"},
        "input": {"clips": [{"id": "a", "text": "one two three"}]},
        "output": {"uri": "file:///data/results/"},
    },
}
RERUN: Json = {
    "apiVersion": API_VERSION,
    "kind": "AudioBatchJob",
    "metadata": {"name": "case"},
    "spec": {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "source": {"jobRef": {"name": "night"}, "select": "Failed"},
        "output": {"uri": "file:///data/results/"},
    },
}
SCHEDULE: Json = {
    "apiVersion": API_VERSION,
    "kind": "AudioBatchSchedule",
    "metadata": {"name": "case"},
    "spec": {"schedule": "30 2 * * *", "jobTemplate": {"spec": JOB["spec"]}},
}
ENDPOINT: Json = {
    "apiVersion": API_VERSION,
    "kind": "VoiceEndpoint",
    "metadata": {"name": "case"},
    "spec": {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "memoryCap": "2Gi",
    },
}
SPEAKING_ENDPOINT: Json = {
    "apiVersion": API_VERSION,
    "kind": "VoiceEndpoint",
    "metadata": {"name": "case"},
    "spec": {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "task": "Synthesize",
        "synthesis": {"mode": "Preset", "voice": "default"},
        "memoryCap": "2Gi",
    },
}
SHARD: Json = {
    "apiVersion": API_VERSION,
    "kind": "AudioShard",
    "metadata": {"name": "case"},
    "spec": {"jobRef": {"name": "job", "uid": "uid"}, "stage": "Process", "ordinal": 0, "indexes": "0-3,7"},
}
MAC: Json = {
    "apiVersion": API_VERSION,
    "kind": "MacAgent",
    "metadata": {"name": "case"},
    "spec": {
        "ssh": {
            "host": "mac.example",
            "user": "voxfleet",
            "hostKeys": [HOST_KEY],
            "identitySecretRef": {"name": "fleet-ssh", "key": "id_ed25519"},
        },
        "tokenSecretRef": {"name": "mac", "key": "token"},
        "ledgerPublicKey": "A" * 43 + "=",
    },
}
ACCEPTANCE: Json = {
    "recordSha256": "0" * 64,
    "hardwareId": "hw-1",
    "ledgerPublicKey": "A" * 43 + "=",
    "acceptedAt": "2026-11-30T06:00:00Z",
    "passed": True,
    "lines": [
        {"name": name, "passed": True, "value": "1 s", "limit": "2 s"}
        for name in ("MachineHours", "DiskQuota", "RealtimeSlo", "FailureBudget", "ReproBundle")
    ],
}
HTTPS_MAC: Json = {
    "apiVersion": API_VERSION,
    "kind": "MacAgent",
    "metadata": {"name": "case"},
    "spec": {
        "https": {
            "url": "https://mac.example:8765",
            "caBundleRef": {"name": "fleet-ca", "key": "ca.crt"},
            "clientCertificateSecretRef": {"name": "fleet-client"},
        },
        "tokenSecretRef": {"name": "mac", "key": "token"},
        "ledgerPublicKey": "A" * 43 + "=",
    },
}
STATEMENT: Json = {
    "apiVersion": API_VERSION,
    "kind": "MachineHourStatement",
    "metadata": {"name": "case"},
    "spec": {"mac": "mac-studio-01", "month": "2026-11"},
}
REMOVE = object()
"""As a value in `changed`: the field is left out."""


@dataclass(frozen=True)
class Bad:
    """One wrong spec, the field that the answer names and words of the advice."""

    base: Json
    changes: dict[str, object]
    field: str
    advice: str


def changed(base: Json, changes: dict[str, object]) -> Json:
    """A copy of `base` in which each dotted path has the given value."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = result
        for parent in parents:
            at = cast(Json, at.setdefault(parent, {}))
        if value is REMOVE:
            del at[last]
        else:
            at[last] = value
    return result
