"""The job that tries a Mac: that of the user, with the clips of the slice alone, on that Mac alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_acceptance import ACCEPTS_MAC, AcceptanceJob
from voxfleet_cli.command_line import Refused
from voxfleet_cli.reruns import MAX_JOB_NAME
from voxfleet_operator.reconcile.mac.reported_machine import offline_lanes

Json = dict[str, Any]


def trial_name(mac: str, suffix: str) -> str:
    """`suffix`: tells the trials of a Mac apart."""
    end = f"-{suffix}"
    return f"accept-{mac}"[: MAX_JOB_NAME - len(end)].rstrip("-.") + end


def trial_job(job: Mapping[str, Any], mac: MacAgent, indexes: str, name: str) -> Json:
    """`indexes`: of the clips, in the whole input. Raises Refused for a job that has no whole input."""
    spec = dict(job["spec"])
    if "source" in spec:
        raise Refused("the job runs clips of another one again (spec.source); give the job that had them first")
    for field in ("macSelector", "suspend", "cancel"):
        spec.pop(field, None)
    spec |= {
        "only": indexes,
        "parallelism": 1 if mac.status.machine is None else max(1, offline_lanes(mac.status.machine)),
        "tolerations": [{"operator": "Exists"}],  # of every taint: it runs on no other Mac
    }
    return {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "metadata": {
            "name": name,
            "namespace": job["metadata"]["namespace"],
            "annotations": {ACCEPTS_MAC: mac.metadata.name},
        },
        "spec": spec,
    }


def ref_of(stored: Mapping[str, Any]) -> AcceptanceJob:
    """`stored`: the job as the API server has it."""
    metadata = stored["metadata"]
    return AcceptanceJob(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])
