"""Objects of every kind that the API server accepts."""

from __future__ import annotations

from tests.cluster.api.specs import (
    ACCEPTANCE,
    CONTRACT,
    ENDPOINT,
    HTTPS_MAC,
    JOB,
    MAC,
    REMOVE,
    RERUN,
    SCHEDULE,
    SHARD,
    SPEAK,
    SPEAKING_ENDPOINT,
    Json,
    changed,
)

GOOD: dict[str, Json] = {
    "endpoint": ENDPOINT,
    "endpoint that speaks": SPEAKING_ENDPOINT,
    "endpoint with everything": changed(
        ENDPOINT,
        {
            "spec.aliases": ["whisper-1", "mlx-community/whisper-large-v3"],
            "spec.transcription": {"language": "en", "maxTokens": 448},
            "spec.model": {"uri": "s3://models/one/"},
            "spec.credentialsSecretRef": {"name": "s3"},
            "spec.lanes": {"min": 2, "max": 2},
            "spec.macSelector": {"matchLabels": {"room": "a"}},
            "spec.tolerations": [{"key": "rented", "operator": "Exists"}],
            "spec.timeZone": "Europe/Berlin",
            "spec.windows": [{"days": ["Mon", "Fri"], "start": "08:00", "end": "18:00"}],
            "spec.session": {"maxSeconds": 600, "maxPerLane": 8, "maxFrameBytes": 65536},
            "spec.streaming": {"interval": "1s", "partial": "250ms"},
            "spec.sloWindow": "15m",
            "spec.turnDetection": {"type": "None", "thresholdPercent": 60, "silence": "1s"},
            "spec.yield": {"mode": "Evict", "quantum": "100ms"},
            "spec.billingKey": "calls",
            "spec.suspend": True,
        },
    ),
    "contract": CONTRACT,
    "contract with equal shortest and longest clip": changed(
        CONTRACT, {"spec.input.minClip": "60s", "spec.input.maxClip": "1m"}
    ),
    "contract with a bound for its ladder": changed(
        CONTRACT, {"spec.slo": {"interactiveP95": "1s", "offlineTailP95": "30s"}, "spec.batching": {"ladder": {}}}
    ),
    "contract with bytes as a number": changed(CONTRACT, {"spec.input.maxClipBytes": 1048576}),
    "contract with everything": changed(
        CONTRACT,
        {
            "spec.input.encodings": ["pcm16", "float32"],
            "spec.input.decoders": ["mlx-audio-io"],
            "spec.conversions": {
                "resample": {"toHz": 16000, "quality": "soxr_hq"},
                "downmix": {"mode": "Mean"},
                "windows": {"length": "60s"},
            },
            "spec.output": {"formats": ["jsonl", "srt", "vtt"], "timestamps": "Word"},
            "spec.buffer": {"headroomPercent": 50},
            "spec.batching": {"ladder": {"from": 1, "to": 4}, "memoryCap": "4Gi"},
            "spec.retries": {"maxRetries": 0, "classes": []},
            "spec.quarantine": {"haltFanOutPercent": 10, "retainFor": "24h"},
            "spec.failureBudget": {"retriesPerHour": 50, "quarantinedMinutes": 30},
            "spec.completeness": {"minCoveragePercent": 80, "unspokenText": "Quarantine"},
            "spec.scratch": {"maxBytes": "1Gi"},
        },
    ),
    "mac that was accepted": changed(MAC, {"spec.requireAcceptance": True, "spec.acceptance": ACCEPTANCE}),
    "mac with pools of both kinds and a co-tenant": changed(
        MAC,
        {
            "spec.pools": [
                {"name": "night", "kind": "Offline", "lanes": 16, "memoryCap": "24Gi"},
                {"name": "live", "kind": "Interactive", "lanes": 1, "memoryCap": 8589934592},
            ],
            "spec.reserved": [{"name": "text-llm", "memory": "20Gi"}],
        },
    ),
    "mac that is being tried": changed(
        MAC, {"spec.acceptanceJob": {"namespace": "team", "name": "accept-case-1", "uid": "uid-1"}}
    ),
    "schedule": SCHEDULE,
    **{f"schedule {text}": changed(SCHEDULE, {"spec.schedule": text}) for text in ("@daily", "*/5  1-3 1,L * MON-FRI")},
    "schedule with everything": changed(
        SCHEDULE,
        {
            "metadata.name": "n" * 37,
            "spec.timeZone": "America/Argentina/Buenos_Aires",
            "spec.startingDeadlineSeconds": 3600,
            "spec.concurrencyPolicy": "Replace",
            "spec.suspend": True,
            "spec.successfulJobsHistoryLimit": 0,
            "spec.failedJobsHistoryLimit": 0,
            "spec.finishedJobTTLSeconds": 0,
            "spec.requestedAt": "2026-11-30T09:30:00Z",
            "spec.jobTemplate.metadata": {"labels": {"team": "speech"}, "annotations": {"example.com/a": "b"}},
            "spec.jobTemplate.spec.input": {"prefix": {"uri": "file:///calls/{date}/{{raw}}/"}},
            "spec.jobTemplate.spec.output.uri": "file:///results/{yesterday}/{slot}/",
        },
    ),
    "schedule that speaks": changed(SCHEDULE, {"spec.jobTemplate.spec": SPEAK["spec"]}),
    "job": JOB,
    "job that speaks": SPEAK,
    "job of only some clips": changed(JOB, {"spec.only": "0-3,7", "spec.maxMachineSeconds": 100000}),
    "rerun": RERUN,
    "rerun of some clips": changed(RERUN, {"spec.source.select": "Indexes", "spec.source.indexes": "3,7-9"}),
    "rerun that speaks": changed(RERUN, {"spec.task": "Synthesize", "spec.synthesis": {"voice": "default"}}),
    "job that speaks with a recorded voice": changed(
        SPEAK, {"spec.synthesis": {"mode": "CustomVoice", "reference": {"uri": "file:///v.wav", "text": "one two"}}}
    ),
    "job that speaks a manifest of texts": changed(
        SPEAK, {"spec.input": {"manifest": {"uri": "https://example.com/texts.jsonl"}}}
    ),
    "job with a model of objects": changed(
        JOB, {"spec.model": {"uri": "https://example.com/model/", "digest": "sha256:" + "0" * 64}}
    ),
    "job with a hub model": changed(JOB, {"spec.model": {"hub": {"id": "org/model", "revision": "main"}}}),
    "job with an absolute model path": changed(JOB, {"spec.model": {"path": "/models/mine"}}),
    "job with s3 and credentials": changed(
        JOB, {"spec.input": {"prefix": {"uri": "s3://calls/2026/"}}, "spec.credentialsSecretRef": {"name": "s3"}}
    ),
    "job with the longest name": changed(JOB, {"metadata.name": "n" * 52}),
    "job with a selector": changed(
        JOB,
        {
            "spec.macSelector": {
                "matchExpressions": [
                    {"key": "site", "operator": "In", "values": ["berlin"]},
                    {"key": "retired", "operator": "DoesNotExist"},
                ]
            }
        },
    ),
    "job with tolerations": changed(
        JOB,
        {
            "spec.tolerations": [
                {"key": "rented", "value": "night", "effect": "NoSchedule"},
                {"key": "example.com/noisy", "operator": "Exists"},
                {"operator": "Exists"},
            ]
        },
    ),
    "job with requirements": changed(
        JOB,
        {"spec.requirements": {"memory": "16Gi", "chips": ["M2", "M4 Pro"], "homogeneous": True}, "spec.priority": -9},
    ),
    "mac with taints": changed(
        MAC, {"spec.taints": [{"key": "rented", "value": "night"}, {"key": "noisy", "effect": "NoSchedule"}]}
    ),
    "process shard": SHARD,
    "plan shard": changed(SHARD, {"spec.stage": "Plan", "spec.ordinal": REMOVE, "spec.indexes": REMOVE}),
    "mac": MAC,
    "mac over https": HTTPS_MAC,
    "mac over https by address": changed(HTTPS_MAC, {"spec.https.url": "https://[fd00::1]:8765/"}),
    "mac that takes some billing keys": changed(
        MAC,
        {
            "spec.access": [
                {"namespaceSelector": {}, "uriPrefixes": ["file:///data/"], "billingKeys": ["speech", "night"]}
            ]
        },
    ),
    "mac with hours, a rental and a drain": changed(
        MAC,
        {
            "spec.availability": {
                "timeZone": "America/Argentina/Buenos_Aires",
                "windows": [
                    {"days": ["Sat", "Sun"], "start": "00:00", "end": "24:00"},
                    {"start": "20:00", "end": "06:00"},
                ],
                "rentalStart": "2026-12-01T00:00:00Z",
                "rentalEnd": "2027-01-01T00:00:00+01:00",
            },
            "spec.drain": {},
        },
    ),
    "mac that is paid": changed(
        MAC, {"spec.billing": {"lessor": "mac-rentals", "sku": "M4.Pro_24", "billingKey": "k" * 63}}
    ),
    "mac whose lessor alone is known": changed(MAC, {"spec.billing": {"lessor": "mac-rentals"}}),
}
