"""Suspend, resume and cancel: what such a request changes in a job's spec, and when it is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_cli.command_line import Refused
from voxfleet_operator.reconcile.job_life import halted_condition, has_ended


class Verb(StrEnum):
    SUSPEND = "suspend"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Change:
    spec: Mapping[str, object]
    """The fields to change; empty: nothing is left to do."""
    done: str
    """What is so afterwards."""


def change_of(job: AudioBatchJob, verb: Verb) -> Change:
    """Raises Refused."""
    name, namespace = job.metadata.name, job.metadata.namespace
    if has_ended(job):
        raise Refused(f"job {name} has ended ({state_of(job)}), and a job that has ended never changes again")
    match verb:
        case Verb.SUSPEND if job.spec.suspend:
            return Change({}, f"job {name} is suspended already")
        case Verb.SUSPEND if job.status.finalize_time is not None or halted_condition(job) is not None:
            raise Refused(f"job {name} starts nothing any more and only merges what was done; it cannot be suspended")
        case Verb.SUSPEND:
            return Change(
                {"suspend": True}, f"job {name} is suspended; voxfleet resume {name} -n {namespace} lets it go on"
            )
        case Verb.RESUME if not job.spec.suspend:
            return Change({}, f"job {name} is not suspended")
        case Verb.RESUME:
            return Change({"suspend": False}, f"job {name} goes on")
        case Verb.CANCEL if job.spec.cancel:
            return Change({}, f"job {name} is cancelled already")
        case Verb.CANCEL:
            return Change(
                {"cancel": True},
                f"job {name} is cancelled: what runs is stopped and what was done is merged; voxfleet why {name} -n"
                f" {namespace}",
            )


def state_of(job: AudioBatchJob) -> str:
    found = find(job.status.conditions, ConditionType.COMPLETE)
    return "nobody has looked at it yet" if found is None else found.reason
