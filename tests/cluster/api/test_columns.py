"""`kubectl get` of every kind, as the API server's tables print it, with values of a busy fleet."""

from __future__ import annotations

import json
from typing import cast

import pytest
from tests.cluster.api.specs import CONTRACT, ENDPOINT, JOB, MAC, SCHEDULE, SHARD, STATEMENT, Json, changed
from tests.unit.operator.decisions.job_states import job_states

from voxfleet_api.kinds import KINDS, Resource
from voxfleet_cli.columns import header
from voxfleet_dev.controlplane import ControlPlane

WIDTH = 120
DIGEST = "sha256:" + "a" * 64
SINCE = "2026-11-20T22:00:00Z"


def condition(type_: str, status: str, reason: str) -> Json:
    return {"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": SINCE}


COUNTS = {"total": 100_000, "succeeded": 98_765, "failed": 0, "quarantined": 1_024}
OBJECTS: dict[str, tuple[Json, Json]] = {
    "VoiceContract": (
        changed(
            CONTRACT,
            {
                "metadata.name": "call-center-2026",
                "spec.input.containers": ["wav", "flac", "mp3", "m4a"],
                "spec.input.sampleRatesHz": [8000, 16000, 44100, 48000],
                "spec.conversions": {"resample": {"toHz": 16000}},
            },
        ),
        {"digest": DIGEST, "conditions": [condition("Accepted", "True", "Accepted")]},
    ),
    "AudioBatchJob": (
        changed(JOB, {"metadata.name": "calls-2026-11-20-nightly"}),
        {
            "conditions": [condition("Complete", "False", "WaitingForMac")],
            "clips": COUNTS,
            "shards": {"total": 834, "committed": 821},
            "usage": {"machineHours": "1234.5678", "machineSeconds": "4444444.080"},
            "macs": ["mac-studio-01", "mac-studio-02"],
            "pendingReason": "0/12 Macs fit: 3 are unschedulable, 4 pause after a failure, 5 have no free lane",
        },
    ),
    "AudioBatchSchedule": (
        changed(
            SCHEDULE,
            {
                "metadata.name": "calls-of-the-north-nightly",
                "spec.schedule": "30 2 * * MON-FRI",
                "spec.timeZone": "America/Los_Angeles",
            },
        ),
        {
            "conditions": [condition("Ready", "False", "JobNameTaken")],
            "lastScheduleTime": SINCE,
            "nextScheduleTimes": ["2026-11-21T10:30:00Z", "2026-11-24T10:30:00Z", "2026-11-25T10:30:00Z"],
        },
    ),
    "AudioShard": (
        changed(SHARD, {"metadata.name": "calls-2026-11-20-nightly-00833", "spec.indexes": "99880-99999"}),
        {
            "conditions": [condition("Committed", "False", "GpuAbortInnocentVictim")],
            "attempt": 12,
            "mac": "mac-studio-01",
            "specDigest": DIGEST,
            "clips": {"succeeded": 120},
        },
    ),
    "MacAgent": (
        changed(MAC, {"metadata.name": "mac-studio-berlin-01", "spec.ssh.host": "mac-studio-01.berlin.example"}),
        {
            "conditions": [
                condition("Available", "False", "ServerCertificateNotYetValid"),
                condition("LedgerVerified", "Unknown", "Unknown"),
            ],
            "machine": {
                "hardwareId": "h",
                "chip": "Apple M4 Max",
                "memoryBytes": 1,
                "os": "macOS 26.1",
                "pools": [
                    {"name": "day", "kind": "Interactive", "lanes": 1},
                    {"name": "night", "kind": "Offline", "lanes": 3},
                ],
                "versions": {},
            },
        },
    ),
    "VoiceEndpoint": (
        changed(ENDPOINT, {"metadata.name": "live-captions-of-the-great-hall"}),
        {
            "conditions": [
                condition("Available", "False", "LaneUnreachable"),
                condition("SLOMet", "Unknown", "NoTurns"),
            ],
            "slo": {"turns": 1200, "breaches": 1200, "p50": "12345ms", "p95": "60000ms", "p99": "60000ms"},
            "lanes": {"wanted": 32, "warm": 31, "busy": 30},
            "macs": [
                {"mac": f"mac-studio-{n}", "generation": n, "specDigest": DIGEST, "state": "Warm", "since": SINCE}
                for n in (1, 2)
            ],
            "pendingReason": "0/12 Macs fit: 12 have no free interactive lane",
        },
    ),
    "MachineHourStatement": (
        changed(STATEMENT, {"metadata.name": "mac-studio-berlin-01-2026-11", "spec.mac": "mac-studio-berlin-01"}),
        {
            "machineHours": "1234.5678",
            "rows": 123_456,
            "updatedAt": SINCE,
            "conditions": [
                {
                    "type": "Final",
                    "status": "False",
                    "reason": "MonthOpen",
                    "message": "",
                    "observedGeneration": 1,
                    "lastTransitionTime": SINCE,
                }
            ],
        },
    ),
}


def put(control_plane: ControlPlane, namespace: str, body: Json, status: Json) -> None:
    control_plane.apply(body, namespace=namespace)
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    patch = json.dumps({"status": {"observedGeneration": 1, **status}})
    flags = ("-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    control_plane.kubectl("patch", str(body["kind"]), str(metadata["name"]), *flags)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_a_line_fits_and_has_the_columns_of_the_cli(
    installed_crds: ControlPlane, namespace: str, kind: type[Resource]
) -> None:
    body, status = OBJECTS[kind.crd.kind]
    put(installed_crds, namespace, body, status)
    named = (
        kind.crd.plural,
        str(cast("Json", body["metadata"])["name"]),
        "-n",
        namespace,
    )  # others have Macs, too
    printed = installed_crds.kubectl("get", *named)
    head, line = printed.splitlines()[:2]
    assert max(len(head), len(line)) <= WIDTH, printed
    assert head.split() == header(kind, wide=False, namespaced=False)
    cells = line.split()
    spaces = sum(line.count(text) * text.count(" ") for text in ("Apple M4 Max", "30 2 * * MON-FRI"))
    assert "<none>" not in line and len(cells) == len(head.split()) + spaces, printed
    print(printed)
    installed_crds.kubectl("delete", *named)


def test_the_state_tells_a_job_that_waits_for_a_mac_from_one_that_is_planned(
    installed_crds: ControlPlane, namespace: str
) -> None:
    states = job_states()
    wanted = {
        "its contract is not there yet": "Pending",
        "planning": "Planning",
        "waiting for a Mac to plan it": "WaitingForMac",
        "running": "Running",
        "waiting for a Mac": "WaitingForMac",
        "suspended": "Suspended",
        "finalizing": "Finalizing",
        "complete": "Finished",
        "failed for a shard": "Failed",
    }
    for number, name in enumerate(wanted):
        put(installed_crds, namespace, changed(JOB, {"metadata.name": f"job-{number}"}), states[name].status.dump())
    printed = installed_crds.kubectl("get", "abj", "-n", namespace, "--no-headers")
    assert [line.split()[1] for line in printed.splitlines()] == list(wanted.values()), printed
