"""Tries a Mac: starts the job on it, waits for its end, and reads what came of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from voxfleet_api.acceptance import CitedRows
from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.mac_acceptance import AcceptanceJob
from voxfleet_api.moments import timestamp
from voxfleet_cli.acceptance.trial_job import ref_of
from voxfleet_cli.command_line import CLI_MANAGER, Refused
from voxfleet_cli.names import NoSuchObject, no_such
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import KubeError

POLL_SECONDS = 1.0


async def mac_to_try(kube: Kube, name: str) -> MacAgent:
    """Raises NoSuchObject, and Refused for a Mac that could not take the job now."""
    mac = await kube.get(MacAgent, "", name)
    if mac is None:
        raise no_such((MacAgent,), name, "")
    available = find(mac.status.conditions, ConditionType.AVAILABLE)
    if available is None:
        raise Refused(f"the operator has not looked at mac/{name} yet; is it running?")
    if available.status != "True" and available.reason != Reason.AWAITS_ACCEPTANCE:
        raise Refused(f"mac/{name} cannot be tried now, {available.reason}: {available.message}")
    if mac.status.machine is None:
        raise Refused(f"mac/{name} has not told of its machine yet; voxfleet why mac/{name}")
    other = mac.spec.acceptance_job
    if other is not None and await _runs(kube, other):
        raise Refused(f"mac/{name} is being tried by job {other.name} (namespace {other.namespace}); wait for its end")
    return mac


async def run_trial(kube: Kube, mac: MacAgent, body: Mapping[str, Any], timeout_seconds: float) -> AudioBatchJob:
    """The job once it has ended and its machine time is settled. Raises Refused when that takes too long.

    However it ends, also by Ctrl-C, the MacAgent names the job no longer, and the job does not go on.
    """
    ref = await _create(kube, body)
    try:
        await _name_job(kube, mac, ref)
        async with asyncio.timeout(timeout_seconds):
            job = await _ended(kube, ref)
    except BaseException as error:
        told = await _undo(kube, mac, ref)
        if isinstance(error, TimeoutError):
            standing = await _standing(kube, ref)
            raise Refused(f"job {ref.name} has not ended within {timeout_seconds:g} s; {told}: {standing}") from error
        if isinstance(error, asyncio.CancelledError):
            print(f"voxfleet: interrupted; {told}", file=sys.stderr)
        raise
    await _quietly(lambda: _name_job(kube, mac, None))
    return job


async def _create(kube: Kube, body: Mapping[str, Any]) -> AcceptanceJob:
    """One that is made while somebody presses Ctrl-C does not go on, either."""
    creating = asyncio.ensure_future(kube.create(body, field_manager=CLI_MANAGER))
    try:
        return ref_of(await asyncio.shield(creating))
    except asyncio.CancelledError:
        ref = ref_of(await creating)
        print(f"voxfleet: interrupted; {await _cancel(kube, ref)}", file=sys.stderr)
        raise


async def _undo(kube: Kube, mac: MacAgent, ref: AcceptanceJob) -> str:
    told = await _cancel(kube, ref)
    await _quietly(lambda: _name_job(kube, mac, None))
    return told


async def _cancel(kube: Kube, ref: AcceptanceJob) -> str:
    """What became of the job."""
    named = f"job {ref.name} (namespace {ref.namespace})"
    changed = await _quietly(
        lambda: kube.change_spec(AudioBatchJob, ref.namespace, ref.name, {"cancel": True}, uid=ref.uid)
    )
    return f"{named} was cancelled" if changed else f"{named} may go on: voxfleet cancel {ref.name} -n {ref.namespace}"


async def cited_rows(kube: Kube, job: AudioBatchJob) -> tuple[CitedRows, ...]:
    """The verified rows of all attempts that held a lane, by shard and attempt."""
    shards, _ = await kube.list(AudioShard, job.metadata.namespace)
    return tuple(
        CitedRows(
            shard_uid=shard.metadata.uid,
            attempt=record.attempt,
            hardware_id="" if record.machine is None else record.machine.hardware_id,
            ledger_key="" if record.machine is None else record.machine.ledger_key,
            chain_id=record.usage.chain_id,
            first_sequence=record.usage.first_sequence,
            last_sequence=record.usage.last_sequence,
            rows=record.usage.rows,
            machine_milliseconds=record.usage.machine_milliseconds,
            last_hash=record.usage.last_hash,
        )
        for shard in sorted(shards, key=lambda shard: shard.metadata.name)
        if shard.spec.job_ref.uid == job.metadata.uid and shard.spec.stage is Stage.PROCESS
        for record in shard.status.attempts
        if record.usage is not None and record.usage.rows
    )


async def _name_job(kube: Kube, mac: MacAgent, ref: AcceptanceJob | None) -> None:
    changes = {"acceptanceJob": None if ref is None else ref.dump()}
    await kube.change_spec(MacAgent, "", mac.metadata.name, changes, field_manager=CLI_MANAGER, uid=mac.metadata.uid)


async def _ended(kube: Kube, ref: AcceptanceJob) -> AudioBatchJob:
    told = ""
    while True:
        job = await _job(kube, ref)
        if has_ended(job) and job.status.usage.settled:
            return job
        if (standing := said(job)) != told:
            told = standing
            print(f"job {ref.name}: {told}", file=sys.stderr)
        await asyncio.sleep(POLL_SECONDS)


def has_ended(job: AudioBatchJob) -> bool:
    conditions = job.status.conditions
    return is_true(conditions, ConditionType.COMPLETE) or is_true(conditions, ConditionType.FAILED)


async def _job(kube: Kube, ref: AcceptanceJob) -> AudioBatchJob:
    job = await kube.get(AudioBatchJob, ref.namespace, ref.name)
    if job is None or job.metadata.uid != ref.uid:
        raise NoSuchObject(f"job {ref.name} (namespace {ref.namespace}) was deleted before it ended; try the Mac again")
    return job


async def _runs(kube: Kube, ref: AcceptanceJob) -> bool:
    job = await kube.get(AudioBatchJob, ref.namespace, ref.name)
    return job is not None and job.metadata.uid == ref.uid and not has_ended(job)


async def _standing(kube: Kube, ref: AcceptanceJob) -> str:
    return said(await _job(kube, ref))


def said(job: AudioBatchJob) -> str:
    """Where the job stands, and what it waits for."""
    complete = find(job.status.conditions, ConditionType.COMPLETE)
    state = "nobody has seen it" if complete is None else complete.reason
    if has_ended(job):
        state = "its signed machine time is awaited"
    stalled = find(job.status.conditions, ConditionType.STALLED)
    if stalled is not None and stalled.status == "True":
        return f"{state}; {stalled.message}"
    waits = job.status.pending_reason
    return state if waits is None else f"{state}; {waits}"


async def _quietly(call: Callable[[], Awaitable[object]]) -> bool:
    """What is undone at the end must not hide why it ended. False: it is not undone."""
    try:
        await call()
    except KubeError as error:
        print(f"voxfleet: not undone: {error}", file=sys.stderr)
        return False
    return True


def now_text() -> str:
    return timestamp(datetime.now(UTC))
