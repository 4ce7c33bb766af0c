"""The job that runs some clips of an ended one again: its document, its name, and when it is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.ranges import decode, encode
from voxfleet_cli.command_line import Refused
from voxfleet_cli.job_verbs import state_of
from voxfleet_operator.reconcile.job_life import has_ended

MAX_JOB_NAME = 52
NOT_COPIED = frozenset({"input", "only", "source", "suspend", "cancel"})
_RETRY = re.compile(r"-retry-[0-9]+$")
_WORDS = {
    SourceSelect.FAILED: "failed",
    SourceSelect.QUARANTINED: "in quarantine",
    SourceSelect.NOT_RUN: "not run",
}


def parsed_clips(text: str) -> str:
    """The shortest form of `3,7-9`. Raises ValueError saying what to write."""
    indexes = decode(text)
    if not indexes:
        raise ValueError("--clips names no clip; write for example --clips 3,7-9")
    return encode(indexes)


def rerun_of(
    job: AudioBatchJob, others: Iterable[AudioBatchJob], select: SourceSelect, clips: str | None, name: str | None
) -> dict[str, Any]:
    """The rerun as a document for the API server or for GitOps.

    `others`: the jobs of the namespace. `name`: None: the first of `<job>-retry-1`, `-2` … that is free.
    Raises Refused.
    """
    _require_clips(job, select, clips)
    existing = list(others)
    if name is None:
        _require_first(job, existing, select, clips)
        name = free_name(job.metadata.name, {other.metadata.name for other in existing})
    stored = job.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    spec = {field: value for field, value in stored.items() if field not in NOT_COPIED}
    source: dict[str, object] = {"jobRef": {"name": job.metadata.name}, "select": select.value}
    if clips is not None:
        source["indexes"] = clips
    return {
        "apiVersion": API_VERSION,
        "kind": job.crd.kind,
        "metadata": {"name": name, "namespace": job.metadata.namespace},
        "spec": {"contractRef": spec.pop("contractRef"), "source": source, **spec},
    }


def counted(job: AudioBatchJob, select: SourceSelect, clips: str | None) -> str:
    """`3 clips (failed)`."""
    number = _count(job, select) if clips is None else len(decode(clips))
    return f"{number} clip{'s' * (number != 1)}" + (f" ({_WORDS[select]})" if select in _WORDS else "")


def free_name(job_name: str, taken: set[str]) -> str:
    """A rerun of `nightly-retry-1` is called `nightly-retry-2`, not `nightly-retry-1-retry-1`."""
    base, number = _RETRY.sub("", job_name), 0
    while True:
        number += 1
        suffix = f"-retry-{number}"
        name = base[: MAX_JOB_NAME - len(suffix)].rstrip("-.") + suffix
        if name not in taken:
            return name


def _require_clips(job: AudioBatchJob, select: SourceSelect, clips: str | None) -> None:
    name, namespace = job.metadata.name, job.metadata.namespace
    if not has_ended(job):
        raise Refused(
            f"job {name} has not ended ({state_of(job)}); wait for it, or stop it: voxfleet cancel {name}"
            f" -n {namespace}"
        )
    counts = job.status.clips
    if job.status.results is None or job.status.plan is None:
        raise Refused(
            f"job {name} ended without results, so nothing says what became of its clips; apply it again under another"
            " name"
        )
    if not _count(job, select):
        raise Refused(
            f"job {name} has no clips that are {_WORDS[select]}: of {counts.total}, {counts.failed} failed,"
            f" {counts.quarantined} are in quarantine and {counts.not_run} did not run"
        )
    if clips is not None and (last := decode(clips)[-1]) >= counts.total:
        raise Refused(f"job {name} has {counts.total} clips, 0 to {counts.total - 1}, and no clip {last}")


def _require_first(
    job: AudioBatchJob, others: Iterable[AudioBatchJob], select: SourceSelect, clips: str | None
) -> None:
    """The same command twice must not pay for the same clips twice. One that ended without results is no hindrance."""
    for other in others:
        if not _reruns(other, job, select) or (has_ended(other) and other.status.results is None):
            continue
        twice = _common(clips, None if other.spec.source is None else other.spec.source.indexes)
        if twice == "":
            continue
        what = "these clips" if twice in (None, clips) else f"clips {twice}"
        raise Refused(
            f"job {other.metadata.name} already runs {what} again; write voxfleet retry {other.metadata.name} for those"
            " that it leaves, or --name NAME to run them all once more"
        )


def _reruns(other: AudioBatchJob, job: AudioBatchJob, select: SourceSelect) -> bool:
    asked, found = other.spec.source, other.status.source
    if asked is None or asked.job_ref.name != job.metadata.name or asked.select is not select:
        return False
    return found is None or found.uid == job.metadata.uid


def _common(clips: str | None, others: str | None) -> str | None:
    """The indexes that both name; None, which stands for all, names each of the other's. `` for none."""
    if clips is None or others is None:
        return others if clips is None else clips
    try:
        return encode(set(decode(clips)) & set(decode(others)))
    except ValueError:  # its Plan refuses them
        return ""


def _count(job: AudioBatchJob, select: SourceSelect) -> int:
    counts = job.status.clips
    return {
        SourceSelect.FAILED: counts.failed,
        SourceSelect.QUARANTINED: counts.quarantined,
        SourceSelect.NOT_RUN: counts.not_run,
        SourceSelect.INDEXES: counts.total,
    }[select]
