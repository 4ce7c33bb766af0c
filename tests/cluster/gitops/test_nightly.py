"""A nightly schedule, a Mac and a job that stand in Git, synced again each night for three nights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
import yaml
from tests.cluster.gitops.clocked_operator import ClockedOperator
from tests.cluster.gitops.sync_tools import ARGO_CD, FLUX, Manifest, SyncTool, built, live, owners
from tests.rig.argo_cd import HealthScript
from tests.rig.kstatus import kstatus

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_generate.gitops import RULE
from voxfleet_operator.kube import FIELD_MANAGER, Kube

NIGHTS = 3
EXAMPLE = REPOSITORY / "examples" / "nightly"
SERVERS_BOOKKEEPING = ("managedFields", "resourceVersion")
Objects = Mapping[str, Manifest]


class Git:
    """What a team and its fleet's admins keep: examples/ in a namespace of its own."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder, self.namespace, self.mac = folder, namespace, f"mac-{namespace}"
        shutil.copytree(EXAMPLE, folder / "nightly")
        mac = _read(REPOSITORY / "examples" / "mac-a.yaml")
        mac["metadata"]["name"] = self.mac
        mac["spec"]["access"][0]["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        job = _read(REPOSITORY / "examples" / "job.yaml")
        job["spec"]["contractRef"]["name"] = "call-center"
        job["metadata"] = {"name": "once"}
        (folder / "team").mkdir()
        _write(folder / "mac.yaml", mac)
        _write(folder / "team" / "job.yaml", job)
        _write(
            folder / "team" / "kustomization.yaml", {"namespace": namespace, "resources": ["../nightly", "job.yaml"]}
        )
        _write(folder / "kustomization.yaml", {"resources": ["team", "mac.yaml"]})

    def commit_request(self, at: datetime) -> None:
        schedule = _read(self.folder / "nightly" / "schedule.yaml")
        schedule["spec"]["requestedAt"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        _write(self.folder / "nightly" / "schedule.yaml", schedule)


def _read(file: Path) -> Manifest:
    found = yaml.safe_load(file.read_text())
    assert isinstance(found, dict)
    return found


def _write(file: Path, content: Manifest) -> None:
    file.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("tool", [FLUX, ARGO_CD], ids=lambda tool: tool.field_manager)
async def test_three_nights_without_a_fight(
    installed_crds: ControlPlane, kube: Kube, operator_kube: Kube, tool: SyncTool, tmp_path: Path
) -> None:
    git = Git(tmp_path, f"nightly-{tool.field_manager}")
    tool.sync(installed_crds, git.folder)
    objects = built(installed_crds, git.folder)
    first = await live(kube, objects)
    operator = ClockedOperator(operator_kube, git.namespace, [git.mac], tomorrow_noon())
    await operator.work()
    slots = []
    for _ in range(NIGHTS):
        slots.append((await schedule(kube, git)).status.next_schedule_times[0])
        operator.sleep_until(datetime.fromisoformat(slots[-1]) + timedelta(seconds=1))
        await operator.work()
        before = await live(kube, objects)
        assert tool.drift(installed_crds, git.folder) == ""
        tool.sync(installed_crds, git.folder)
        after = await live(kube, objects)
        assert {name: said(item) for name, item in after.items()} == {name: said(item) for name, item in before.items()}
        await operator.work()
        assert await live(kube, objects) == after, "the operator answers a sync that changes nothing"
        assert written_by_git(after, tool) == written_by_git(first, tool)
        assert_each_writes_its_own(after, tool)
        assert_synced_and_healthy(after)
    await operator.work()  # the oldest goes, beyond successfulJobsHistoryLimit
    jobs = await made_by_schedule(kube, git)
    assert [slot_of(job) for job in jobs] == list(map(datetime.fromisoformat, slots[1:]))
    assert all(is_true(job.status.conditions, ConditionType.COMPLETE) for job in jobs)
    for job in jobs:  # what a sync tool knows its objects by would have it prune them
        names = {*job.metadata.labels, *job.metadata.annotations}
        assert {name.split("/")[0] for name in names} == {"team", "voxfleet.dev"}
    await assert_a_commit_asks_for_one_run(installed_crds, kube, tool, git, operator)
    await assert_a_pause_by_hand_stays(installed_crds, kube, tool, git)


async def assert_a_commit_asks_for_one_run(
    control_plane: ControlPlane, kube: Kube, tool: SyncTool, git: Git, operator: ClockedOperator
) -> None:
    before = {job.metadata.uid for job in await made_by_schedule(kube, git)}
    git.commit_request(operator.clock.now())
    for _ in range(2):
        tool.sync(control_plane, git.folder)
        await operator.work()
        assert tool.drift(control_plane, git.folder) == ""
        started = [job for job in await made_by_schedule(kube, git) if job.metadata.uid not in before]
        assert len(started) == 1 and is_true(started[0].status.conditions, ConditionType.COMPLETE)


async def assert_a_pause_by_hand_stays(control_plane: ControlPlane, kube: Kube, tool: SyncTool, git: Git) -> None:
    """Git does not have the field, so it is nothing to a sync."""
    await kube.change_spec(AudioBatchSchedule, git.namespace, "calls", {"suspend": True}, field_manager="voxfleet-cli")
    assert tool.drift(control_plane, git.folder) == ""
    tool.sync(control_plane, git.folder)
    assert (await schedule(kube, git)).spec.suspend


def tomorrow_noon() -> datetime:
    """Long after the last slot, whatever the clock on the wall says: what was due since the schedule came is missed."""
    return datetime.combine(datetime.now(UTC).date() + timedelta(days=1), time(12), UTC)


def slot_of(job: AudioBatchJob) -> datetime:
    return datetime.fromisoformat(job.metadata.annotations["voxfleet.dev/slot"])


async def schedule(kube: Kube, git: Git) -> AudioBatchSchedule:
    found = await kube.get(AudioBatchSchedule, git.namespace, "calls")
    assert found is not None
    return found


async def made_by_schedule(kube: Kube, git: Git) -> list[AudioBatchJob]:
    jobs, _ = await kube.list(AudioBatchJob, git.namespace)
    return sorted((job for job in jobs if job.metadata.owner_references), key=lambda job: job.metadata.name)


def said(item: Manifest) -> Manifest:
    """The object without who wrote it when: the server sorts what was applied by time, and counts that as a change."""
    metadata = {name: value for name, value in item["metadata"].items() if name not in SERVERS_BOOKKEEPING}
    return {**item, "metadata": metadata}


def written_by_git(objects: Objects, tool: SyncTool) -> dict[str, frozenset[str]]:
    return {name: owners(item)[tool.field_manager] for name, item in objects.items()}


def assert_each_writes_its_own(objects: Objects, tool: SyncTool) -> None:
    """Git writes no status, the operator nothing else, and no field has two writers."""
    for name, item in objects.items():
        found = owners(item)
        assert found.keys() <= {tool.field_manager, FIELD_MANAGER}, name
        ours, git = found.get(FIELD_MANAGER, frozenset()), found[tool.field_manager]
        assert not ours & git, name
        assert all(path.startswith(("status.", "metadata.finalizers")) for path in ours), (name, sorted(ours))
        assert not any(path.startswith("status") for path in git), (name, sorted(git))
        assert item["metadata"].get("generation", 1) == 1, name


def assert_synced_and_healthy(objects: Objects) -> None:
    script = HealthScript(RULE.read_text())
    ours = {name: item for name, item in objects.items() if "voxfleet.dev/" in item["apiVersion"]}
    assert kstatus(*ours.values()) == ["Current"] * len(ours)
    assert {name: script.health(item).status for name, item in ours.items()} == dict.fromkeys(ours, "Healthy")
