"""A schedule on a real API server: what it makes, adopts, refuses and cancels; and backfills of the command line."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.cluster.api.specs import SCHEDULE, Json, changed
from tests.unit.operator.decisions.world import Journal, Leader
from typer.testing import CliRunner

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_cli.main import app
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.fleet.mac_view import Fleet
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import Conflict
from voxfleet_operator.queue import WorkQueue
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.schedule.reconcile import ScheduleReconciler
from voxfleet_operator.reconcile.schedule.slot_job import job_name
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.registry import triggers

NEXT_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
SLOT = NEXT_YEAR + timedelta(days=1, hours=2, minutes=30)
"""A slot that comes after whatever the server's clock says."""


class NoFleet:
    """Schedules ask no Mac."""


async def one_pass(kube: Kube, namespace: str, now: datetime, fleet: Fleet) -> AudioBatchSchedule:
    """A new process that has just read everything looks at the schedule, until nothing is left to do now."""
    cache, queue, journal = Cache(), WorkQueue(), Journal()
    for kind in (AudioBatchSchedule, AudioBatchJob):
        for item in (await kube.list(kind, namespace))[0]:
            cache.put(item)
    context = Context(
        api=kube,
        cache=cache,
        fleet=fleet,
        leader=Leader(0.0),
        queue=queue,
        triggers=triggers(),
        events=journal,
        options=ReconcileOptions("uid"),
        clock=lambda: 0.0,
        now=lambda: now,
        synced=lambda: True,
    )
    reconciler = ScheduleReconciler(context, StoredStatements(context.cache))
    key = key_of(cache.all(AudioBatchSchedule)[0])
    while await reconciler.reconcile(key) == 0.0:
        pass
    found = await kube.get(AudioBatchSchedule, namespace, key.name)
    assert found is not None
    return found


@pytest.fixture
def look(kube: Kube, namespace: str) -> Any:
    async def call(now: datetime) -> AudioBatchSchedule:
        return await one_pass(kube, namespace, now, NoFleet())  # type: ignore[arg-type] # it is never asked

    return call


def schedule(namespace: str, **changes: object) -> Json:
    metadata = {"name": "nightly", "namespace": namespace}
    return changed(SCHEDULE, {"metadata": metadata, "spec.startingDeadlineSeconds": 3600, **changes})


async def jobs(kube: Kube, namespace: str) -> dict[str, AudioBatchJob]:
    return {job.metadata.name: job for job in (await kube.list(AudioBatchJob, namespace))[0]}


async def test_a_run_is_made_once_whatever_the_process_knows_and_replaces_the_one_before(
    kube: Kube, namespace: str, look: Any
) -> None:
    uri = "file:///data/{date}/{slot}.jsonl"
    template = {"spec.jobTemplate.spec.input": {"manifest": {"uri": uri}}, "spec.concurrencyPolicy": "Replace"}
    await kube.create(schedule(namespace, **template))
    accepted = await look(NEXT_YEAR)
    assert [item.reason for item in accepted.status.conditions] == [Reason.SCHEDULED]
    await look(SLOT)
    for _ in range(2):  # another process, whose cache and status are behind
        await kube.apply_status(AudioBatchSchedule, namespace, "nightly", accepted.status.dump())
        found = await look(SLOT)
    made = await jobs(kube, namespace)
    assert list(made) == [job_name("nightly", SLOT)] == [item.name for item in found.status.active]
    (job,) = made.values()
    assert job.spec.input is not None and job.spec.input.uris() == ("file:///data/2027-01-02/20270102T0230+0000.jsonl",)
    assert job.metadata.annotations["voxfleet.dev/slot"] == "2027-01-02T02:30:00+00:00"
    assert found.status.last_schedule_time == "2027-01-02T02:30:00Z"
    assert found.status.next_schedule_times == tuple(f"2027-01-0{day}T02:30:00Z" for day in (3, 4, 5))
    await look(SLOT + timedelta(days=1))
    assert {name: job.spec.cancel for name, job in (await jobs(kube, namespace)).items()} == {
        job_name("nightly", SLOT): True,
        job_name("nightly", SLOT + timedelta(days=1)): False,
    }


async def test_an_orphan_is_adopted_and_a_foreign_job_of_the_name_is_not(kube: Kube, namespace: str, look: Any) -> None:
    await kube.create(schedule(namespace))
    await look(NEXT_YEAR)
    await look(SLOT)
    name = job_name("nightly", SLOT)
    job = (await jobs(kube, namespace))[name]
    path = f"/apis/voxfleet.dev/v1alpha1/namespaces/{namespace}/audiobatchjobs/{name}"

    async def patch(metadata: dict[str, object]) -> None:
        body = {"metadata": metadata}
        await kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    await patch({"ownerReferences": None})
    found = await look(SLOT)
    owners = (await jobs(kube, namespace))[name].metadata.owner_references
    assert [owner.uid for owner in owners if owner.controller] == [found.metadata.uid]
    await patch({"ownerReferences": None, "labels": {"voxfleet.dev/schedule": "other"}})
    status = found.status.model_copy(update={"decided": None})
    await kube.apply_status(AudioBatchSchedule, namespace, "nightly", status.dump())
    refused = await look(SLOT)
    assert {item.reason for item in refused.status.conditions} == {Reason.JOB_NAME_TAKEN}
    assert refused.status.decided is not None and refused.status.decided.until < "2027"
    await kube.delete(AudioBatchJob, namespace, name, job.metadata.uid)
    assert [item.reason for item in (await look(SLOT)).status.conditions] == [Reason.SCHEDULED]


async def test_a_template_that_makes_no_job_is_refused_by_day(kube: Kube, namespace: str, look: Any) -> None:
    uri = f"file:///{'n' * 1000}/{{slot}}"
    await kube.create(schedule(namespace, **{"spec.jobTemplate.spec.input": {"manifest": {"uri": uri}}}))
    refused = await look(NEXT_YEAR)
    assert [item.reason for item in refused.status.conditions] == [Reason.JOB_REFUSED] * 2
    assert "spec.input.manifest.uri" in refused.status.conditions[0].message
    assert not await jobs(kube, namespace)


async def test_a_job_of_another_uid_is_not_changed(kube: Kube, namespace: str, look: Any) -> None:
    await kube.create(schedule(namespace))
    await look(NEXT_YEAR)
    await look(SLOT)
    name = job_name("nightly", SLOT)
    with pytest.raises(Conflict):
        await kube.change_spec(AudioBatchJob, namespace, name, {"cancel": True}, uid="another")
    assert not (await jobs(kube, namespace))[name].spec.cancel


def test_backfill_shows_makes_what_is_missing_and_goes_on_where_it_was(
    installed_crds: ControlPlane, namespace: str
) -> None:
    async def apply() -> None:
        async with await Kube.connect(installed_crds.kubeconfig) as kube:
            await kube.create(schedule(namespace))

    def backfill(*arguments: str) -> str:
        days = ("--from", "2026-11-01", "--to", "2026-11-03")
        asked = ["backfill", "nightly", "-n", namespace, *days, *arguments]
        found = CliRunner().invoke(app, [*asked, "--kubeconfig", str(installed_crds.kubeconfig)])
        assert found.exit_code == 0, found.stderr
        return found.stdout

    asyncio.run(apply())
    assert "3 jobs would be made; nothing was created" in backfill()
    assert installed_crds.kubectl("get", "abj", "-n", namespace, "-o", "name") == ""
    assert "3 jobs made; 0 of 3 slots have one already" in backfill("--yes", "--concurrency", "3")
    owned = installed_crds.kubectl("get", "abj", "-n", namespace, "-o", "jsonpath={.items[*].metadata.ownerReferences}")
    assert owned.strip() == ""
    assert "every slot has its job" in backfill() and "0 jobs made; 3 of 3 slots have one already" in backfill("--yes")
    names = installed_crds.kubectl("get", "abj", "-n", namespace, "-o", "name").split()
    assert names == [f"audiobatchjob.voxfleet.dev/nightly-2026110{day}0230" for day in (1, 2, 3)]
