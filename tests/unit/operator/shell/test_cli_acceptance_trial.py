"""What `voxfleet accept` says of its job while it waits."""

from __future__ import annotations

from typing import Any

import pytest

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_cli.acceptance.trial import said

MISSING = "VoiceContract calls does not exist in namespace speech; create it"


def job(**status: Any) -> AudioBatchJob:
    spec = {
        "contractRef": {"name": "calls"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    metadata = {"name": "accept-mac-1", "namespace": "speech"}
    return AudioBatchJob.load(
        {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "metadata": metadata, "spec": spec, "status": status}
    )


def condition(name: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    moment = "2026-11-30T14:00:00Z"
    return {"type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": moment}


PENDING = condition("Complete", "False", "Pending")
SAID = {
    "nothing yet": (job(), "nobody has seen it"),
    "no lane": (job(conditions=[PENDING], pendingReason="0/2 Macs fit"), "Pending; 0/2 Macs fit"),
    "a person": (
        job(conditions=[PENDING, condition("Stalled", "True", "ContractNotFound", MISSING)]),
        f"Pending; {MISSING}",
    ),
    "nobody any more": (
        job(conditions=[PENDING, condition("Stalled", "False", "NotStalled", "it goes on")]),
        "Pending",
    ),
}


@pytest.mark.parametrize("waits_for", SAID)
def test_a_job_that_waits_says_for_what(waits_for: str) -> None:
    waiting, told = SAID[waits_for]
    assert said(waiting) == told
