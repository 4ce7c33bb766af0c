"""A fleet's objects as the API server sends them, and what each Mac shows: what the operator is measured on.

Every object is parsed from a body of its own, so that equal parts of two objects are not the same object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from voxfleet_api.conditions import Reason
from voxfleet_api.digest import digest_of, sha256_hex
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement, Resource, VoiceContract
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import MachineIdentity, Stage
from voxfleet_api.ledger import ChainHead
from voxfleet_api.machine_messages import Capability, MachineFacts
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.shard.new_shard import NewShard, shard_body

NOW = "2026-11-20T22:00:00Z"
NAMESPACES, CLIPS_A_SHARD = 10, 50
CHIPS = ("Apple M2", "Apple M4", "Apple M4 Pro")


@dataclass(frozen=True)
class Shape:
    """How many objects there are, and how far the jobs have come."""

    jobs: int
    shards_a_job: int
    macs: int
    live: int = 0
    """Of all shards, how many run."""
    committed: int = 0
    """Of each job's shards, how many have a result."""


KINDS: Mapping[str, type[Resource]] = {
    kind.crd.kind: kind for kind in (AudioBatchJob, AudioShard, MacAgent, MachineHourStatement, VoiceContract)
}


def load(body: Mapping[str, Any]) -> Resource:
    """Through text, as from the API server: no two objects share a string."""
    return KINDS[body["kind"]].load(json.loads(json.dumps(body)))


def bodies(shape: Shape) -> Iterator[dict[str, Any]]:
    yield from (mac_body(number) for number in range(shape.macs))
    live_a_job = -(-shape.live // max(1, shape.jobs))
    for number in range(shape.jobs):
        body = job_body(number, shape.shards_a_job)
        yield body
        job = AudioBatchJob.load(body)
        for ordinal in range(shape.shards_a_job):
            is_live = shape.committed <= ordinal < shape.committed + live_a_job
            mac = (number * live_a_job + ordinal - shape.committed) % max(1, shape.macs)
            yield process_body(job, ordinal, live_on=mac if is_live else None, committed=ordinal < shape.committed)


def namespace(number: int) -> str:
    return f"team-{number % NAMESPACES}"


def mac_name(number: int) -> str:
    return f"mac-{number:03}"


def identity(number: int) -> MachineIdentity:
    return MachineIdentity(hardware_id=f"hardware-{number}", ledger_key=_ledger_key(number))


def _ledger_key(number: int) -> str:
    return f"{number:043}="


def _metadata(uid: str, number: int, **more: object) -> dict[str, Any]:
    """With the fields that the API server adds and nobody reads."""
    owned: dict[str, Any] = {
        "f:spec": {".": {}, **{f"f:field{index}": {} for index in range(12)}},
        "f:status": {"f:conditions": {}},
    }
    manager = {"manager": "voxfleet-operator", "operation": "Apply", "time": NOW, "fieldsV1": owned}
    return {
        "uid": uid,
        "resourceVersion": str(1000 + number),
        "generation": 1,
        "creationTimestamp": f"2026-11-20T{number % 22:02}:00:00Z",
        "managedFields": [manager, {**manager, "subresource": "status"}],
        **more,
    }


def mac_body(number: int) -> dict[str, Any]:
    rules = [
        {"namespaceSelector": {"matchLabels": {"team": namespace(team)}}, "uriPrefixes": ["s3://data/"]}
        for team in range(2)
    ]
    return {
        "kind": "MacAgent",
        "metadata": _metadata(
            f"uid-of-mac-{number}",
            number,
            name=mac_name(number),
            labels={"host": mac_name(number), "site": f"site-{number % 3}"},
        ),
        "spec": {
            "ssh": {
                "host": f"{mac_name(number)}.example.org",
                "user": "voxfleet",
                "hostKeys": ["ssh-ed25519 " + "A" * 68],
                "identitySecretRef": {"name": "fleet", "key": "id"},
            },
            "tokenSecretRef": {"name": mac_name(number), "key": "token"},
            "ledgerPublicKey": _ledger_key(number),
            "access": [*rules, {"namespaceSelector": {}, "uriPrefixes": ["file:///data/"]}],
            "taints": [{"key": "rented", "value": "night"}] if number % 5 == 0 else [],
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [
                _condition(kind, "True", reason)
                for kind, reason in (
                    ("Accepted", "Accepted"),
                    ("Reachable", "Connected"),
                    ("RuntimeCompatible", "Compatible"),
                    ("LedgerVerified", "Verified"),
                    ("Available", "Available"),
                )
            ],
            "machine": {
                "hardwareId": f"hardware-{number}",
                "bootId": f"boot-{number}",
                "chip": CHIPS[number % 3],
                "memoryBytes": 2**34 * (1 + number % 2),
                "os": "macOS 26.1",
                "pools": [{"name": "offline", "kind": "Offline", "lanes": 1}],
                "versions": _versions(),
            },
        },
    }


def mac_view(number: int, **changed: Any) -> MacView:
    view = MacView(
        name=mac_name(number),
        connected=True,
        reason=Reason.CONNECTED,
        message="the agent proved its identity and answers",
        identity=identity(number),
        machine=machine_facts(number),
    )
    return replace(view, **changed)


def machine_facts(number: int, lanes: int = 1) -> MachineFacts:
    return MachineFacts.load(
        {
            "hardwareId": f"hardware-{number}",
            "bootId": f"boot-{number}",
            "chip": CHIPS[number % 3],
            "memoryBytes": 2**34 * (1 + number % 2),
            "os": "macOS 26.1",
            "versions": _versions(),
            "runtimeCompatible": True,
            "runtimeMessage": "mlx 0.32.4 is the version that this agent was tested with",
            "capabilities": [item.value for item in Capability],
            "pools": [
                {"name": "offline", "kind": "Offline", "lanes": lanes, "freeLanes": lanes, "memoryCapBytes": 2**33}
            ],
            "loadedModels": [model_digest(number)],
            "ledgerChainId": f"chain-{number}",
            "ledgerSequence": 100,
        }
    )


def model_digest(number: int) -> str:
    return f"sha256:{sha256_hex(f'model {number % 4}'.encode())}"


def job_body(number: int, shards: int) -> dict[str, Any]:
    contract = {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}
    accepted = VoiceContract.load(
        {"metadata": {"name": "contract", "namespace": namespace(number)}, "spec": {"input": contract}}
    ).spec.in_full()
    return {
        "kind": "AudioBatchJob",
        "metadata": _metadata(
            f"uid-of-job-{number}",
            number,
            name=f"job-{number:05}",
            namespace=namespace(number),
            finalizers=[CLEANUP_FINALIZER],
        ),
        "spec": {
            "contractRef": {"name": "contract"},
            "model": {"builtin": {"name": "commands"}},
            "input": {"prefix": {"uri": f"file:///data/in/{number}/"}},
            "output": {"uri": f"file:///data/out/{number}/"},
            "parallelism": 1000,
            "priority": number % 3,
            "macSelector": {"matchLabels": {"site": "site-1"}} if number % 7 == 0 else {},
            "requirements": {
                "memory": "16Gi",
                "chips": ["M4"] if number % 2 else [],
                "homogeneous": number % 5 == 0,
            },
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [_condition("Accepted", "True", "Accepted"), _condition("Complete", "False", "Running")],
            "contract": {"digest": digest_of(accepted), "spec": accepted.dump()},
            "startTime": NOW,
            "plan": {
                "attempt": 1,
                "manifestSha256": sha256_hex(f"manifest {number}".encode()),
                "modelDigest": model_digest(number),
                "modelRevision": "abc123",
                "modelBytes": 2**30,
                "boundaries": [CLIPS_A_SHARD * index for index in range(shards + 1)],
                "audioSeconds": f"{CLIPS_A_SHARD * shards * 5}.000",
            },
        },
    }


def process_body(
    job: AudioBatchJob, ordinal: int, *, live_on: int | None = None, committed: bool = False
) -> dict[str, Any]:
    body = shard_body(job, NewShard(Stage.PROCESS, ordinal))
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    number = int(job.metadata.uid.rpartition("-")[2])
    on = (number + ordinal) % 500 if live_on is None else live_on
    status: dict[str, Any] = {"observedGeneration": -1}
    record = {
        "attempt": 1,
        "mac": mac_name(on),
        "machine": identity(on).dump(),
        "chip": CHIPS[on % 3],
        "outcome": "Assigned",
    }
    placed = {
        "attempt": 1,
        "mac": mac_name(on),
        "specDigest": f"sha256:{sha256_hex(b'spec')}",
        "leaseSeconds": 600,
        "assignedAt": NOW,
    }
    if live_on is not None:
        status = {
            "observedGeneration": 1,
            "conditions": [_condition("Committed", "False", "Assigned")],
            **placed,
            "attempts": [record],
        }
    if committed:
        usage = {
            "chainId": f"chain-{on}",
            "firstSequence": 3 * ordinal,
            "lastSequence": 3 * ordinal + 2,
            "rows": 3,
            "setupMilliseconds": 1000,
            "workMilliseconds": 250_000,
            "cleanupMilliseconds": 100,
            "audioMilliseconds": CLIPS_A_SHARD * 5000,
            "complete": True,
        }
        status = {
            "observedGeneration": 1,
            "conditions": [_condition("Committed", "True", "Committed")],
            **placed,
            "attempts": [{**record, "outcome": "Succeeded", "usage": usage}],
            "commit": {"attempt": 1, "sha256": sha256_hex(f"commit {ordinal}".encode())},
            "clips": {"succeeded": CLIPS_A_SHARD, "failed": 0, "quarantined": 0, "notRun": 0},
            "scratchHighWaterBytes": 2**28,
        }
    return {
        **body,
        "metadata": _metadata(f"uid-of-{metadata['name']}", ordinal, **metadata),
        "status": status,
    }


def statement_body(number: int) -> dict[str, Any]:
    head = ChainHead(f"chain-{number}", 100, sha256_hex(b"row"))
    return {
        "kind": "MachineHourStatement",
        "metadata": _metadata(f"uid-of-statement-{number}", number, name=f"{mac_name(number)}-2026-11"),
        "spec": {"mac": mac_name(number), "month": "2026-11"},
        "status": {
            "cursors": [
                {
                    "chainId": head.chain_id,
                    "sequence": head.sequence,
                    "hash": head.hash,
                    "ledgerKey": _ledger_key(number),
                }
            ],
            "recentUse": [{"namespace": namespace(team), "machineSeconds": "600.000"} for team in range(NAMESPACES)],
            "updatedAt": NOW,
        },
    }


def _condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "in a sentence of the usual length, as they are written for people",
        "observedGeneration": 1,
        "lastTransitionTime": NOW,
    }


def _versions() -> dict[str, str]:
    return {"voxfleet-agent": "0.1.0", "mlx": "0.32.4", "mlx-audio": "0.4.5", "python": "3.11.9"}
