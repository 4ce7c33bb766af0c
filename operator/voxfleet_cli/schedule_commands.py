"""The command `voxfleet backfill`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import StartedBy
from voxfleet_api.moments import timestamp
from voxfleet_cli.backfill import BackfillSlot, backfill_slots, running, what_is_there
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import (
    CLI_MANAGER,
    EPILOG,
    Exit,
    Kubeconfig,
    KubeContext,
    Namespace,
    Refused,
    with_kube,
)
from voxfleet_cli.names import no_such
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import AlreadyExists
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.schedule.addresses import UnknownPlaceholder
from voxfleet_operator.reconcile.schedule.slot_job import Kinship, Run, job_body, kinship

POLL_SECONDS = 5.0


def add_schedule_verbs(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: voxfleet backfill nightly -n calls --from 2026-11-01 --to 2026-11-29; voxfleet backfill"
        f" nightly --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --yes --concurrency 2. {EPILOG}"
    )(backfill)


def backfill(
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule.")],
    first: Annotated[
        str, typer.Option("--from", help="The first slot: a date in the schedule's time zone, or a time with offset.")
    ],
    last: Annotated[str, typer.Option("--to", help="The last slot, likewise; a date stands for all of its day.")],
    yes: Annotated[bool, typer.Option("--yes", help="Make the jobs. Without it, they are only shown.")] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, max=20, help="How many jobs of the backfill may run at a time.")
    ] = 1,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Run slots of a schedule that have passed: those from one time to another that have no job.

    First it shows them; with --yes it makes their jobs, one after the other, and waits while as many run as may. A
    job's name follows from its slot, so the same command again makes only what is missing; interrupt it at will. The
    jobs are yours: neither the limits of the schedule's history nor its TTL remove them, and its concurrencyPolicy does
    not count them.
    """
    work = partial(_backfill, schedule, first, last, yes, concurrency, namespace)
    raise typer.Exit(with_kube(kubeconfig, context, work))


async def _backfill(
    name: str, first: str, last: str, yes: bool, concurrency: int, namespace: str | None, kube: Kube
) -> Exit:
    place = namespace or kube.namespace
    schedule = await kube.get(AudioBatchSchedule, place, name)
    if schedule is None:
        raise no_such((AudioBatchSchedule,), name, place)
    jobs, _ = await kube.list(AudioBatchJob, place)
    slots = backfill_slots(schedule, first, last, jobs, datetime.now(UTC))
    missing = [slot for slot in slots if slot.missing]
    if not yes:
        return await _show(kube, schedule, slots, missing)
    for slot in slots:
        if slot.found is not None and kinship(slot.found, schedule) is Kinship.FOREIGN:
            print(f"job {slot.job} is not of this schedule; its slot does not run", file=sys.stderr)
    active, made = running(schedule, jobs), 0
    for slot in missing:
        active = await _room(kube, place, active, concurrency)
        if await _make(kube, schedule, slot):
            made += 1
            print(f"job {slot.job} runs for {timestamp(slot.slot)} ({made} of {len(missing)})", flush=True)
        active.add(slot.job)
    print(f"{_jobs(made)} made; {len(slots) - made} of {len(slots)} slots have one already")
    return Exit.OK


async def _show(
    kube: Kube, schedule: AudioBatchSchedule, slots: tuple[BackfillSlot, ...], missing: list[BackfillSlot]
) -> Exit:
    """Raises Invalid: the API server would refuse the jobs."""
    print(
        table(
            ["SLOT", "JOB", "STATE"],
            [[timestamp(item.slot), item.job, what_is_there(schedule, item)] for item in slots],
        )
    )
    if missing:
        await kube.create(_body(schedule, missing[0]), field_manager=CLI_MANAGER, dry_run=True)
        print(f"{_jobs(len(missing))} would be made; nothing was created, --yes makes them")
    else:
        print("every slot has its job; nothing is left to do")
    return Exit.OK


async def _room(kube: Kube, namespace: str, active: set[str], concurrency: int) -> set[str]:
    """Waits until fewer jobs run than may; returns those that do."""
    told = False
    while len(active) >= concurrency:
        found = [await kube.get(AudioBatchJob, namespace, name) for name in sorted(active)]
        active = {job.metadata.name for job in found if job is not None and not has_ended(job)}
        if len(active) < concurrency:
            break
        if not told:
            print(f"waits for the end of {', '.join(sorted(active))}", file=sys.stderr, flush=True)
            told = True
        await asyncio.sleep(POLL_SECONDS)
    return active


async def _make(kube: Kube, schedule: AudioBatchSchedule, slot: BackfillSlot) -> bool:
    """False if the slot has got a job meanwhile."""
    try:
        await kube.create(_body(schedule, slot), field_manager=CLI_MANAGER)
    except AlreadyExists:
        return False
    return True


def _body(schedule: AudioBatchSchedule, slot: BackfillSlot) -> dict[str, object]:
    try:
        return job_body(schedule, Run(slot.slot, StartedBy.BACKFILL))
    except UnknownPlaceholder as error:
        raise Refused(str(error)) from error


def _jobs(number: int) -> str:
    return f"{number} job{'s' * (number != 1)}"
