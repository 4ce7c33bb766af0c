"""`voxfleet why job` names what each Mac lacks and the job's place in the queue, computed from the objects alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import a_job, a_shard
from tests.unit.operator.golden.endpoint_states import endpoint_states

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceEndpoint
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_cli.explain import explain, looks_around
from voxfleet_cli.surroundings import Surroundings, read_surroundings
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import Forbidden, NotFound
from voxfleet_operator.kube_objects import Unreadable

NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)
ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "",
    "lastTransitionTime": "2026-11-20T20:00:00Z",
}


def job(name: str, namespace: str = "team", created: str = "2026-11-20T20:00:00Z", **spec: Any) -> AudioBatchJob:
    made = a_job(**spec)
    metadata = made.metadata.model_copy(
        update={"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "creation_timestamp": created}
    )
    accepted = AudioBatchJob.load({**made.dump(), "status": {**made.status.dump(), "conditions": [ACCEPTED]}})
    return accepted.model_copy(update={"metadata": metadata})


def shard(of: AudioBatchJob, ordinal: int = 0, mac: str | None = None) -> AudioShard:
    live = (
        {}
        if mac is None
        else {
            "attempt": 1,
            "mac": mac,
            "assignedAt": "2026-11-20T21:30:00Z",
            "attempts": [{"attempt": 1, "mac": mac, "outcome": "Assigned"}],
        }
    )
    made = a_shard(of, Stage.PROCESS, ordinal, **live)
    metadata = made.metadata.model_copy(update={"uid": f"{of.metadata.uid}-{ordinal}"})
    return made.model_copy(update={"metadata": metadata})


def mac(
    name: str,
    *,
    available: bool = True,
    chip: str = "Apple M2",
    memory_bytes: int = 2**34,
    kind: str = "Offline",
    **spec: object,
) -> MacAgent:
    condition = {
        **ACCEPTED,
        "type": "Available",
        "status": str(available),
        "reason": "Any",
        "message": f"{name} sleeps",
    }
    machine = {
        "hardwareId": name,
        "chip": chip,
        "memoryBytes": memory_bytes,
        "os": "macOS 26",
        "versions": {},
        "pools": [{"name": "one", "kind": kind, "lanes": 1}],
    }
    return MacAgent.load(mac_agent(name, **spec) | {"status": {"conditions": [condition], "machine": machine}})


NIGHTLY, YOUNGER = job("nightly"), job("younger", created="2026-11-20T21:00:00Z")
URGENT, OTHER = job("urgent", created="2026-11-20T21:00:00Z", priority=5), job("other", "rivals")


def around(*objects: AudioBatchJob | AudioShard, macs: tuple[MacAgent, ...] = (), **more: Any) -> Surroundings:
    jobs = tuple(item for item in objects if isinstance(item, AudioBatchJob))
    shards = tuple(item for item in objects if isinstance(item, AudioShard))
    return Surroundings(NOW, jobs, shards, macs, **more)


def test_the_place_in_the_queue() -> None:
    waiting = around(
        NIGHTLY,
        YOUNGER,
        URGENT,
        OTHER,
        shard(NIGHTLY),
        shard(NIGHTLY, 1, "mac-a"),
        shard(YOUNGER),
        shard(URGENT),
        shard(OTHER),
    )
    said = explain(NIGHTLY, (), waiting)
    assert said["queue"] == "3rd of 4 jobs that wait for a lane; namespace team holds 1 lane"
    assert said["shares"] == [
        {"namespace": "rivals", "waitingJobs": 1, "lanes": 0, "recentHours": "0.0000", "weight": 1},
        {"namespace": "team", "waitingJobs": 3, "lanes": 1, "recentHours": "0.5000", "weight": 1},
    ]
    assert explain(URGENT, (), waiting)["queue"].startswith("2nd of 4 jobs that wait for a lane, with priority 5; ")


def test_of_other_namespaces_only_what_one_may_see() -> None:
    said = explain(NIGHTLY, (), around(NIGHTLY, YOUNGER, shard(NIGHTLY), shard(YOUNGER), whole=False))
    assert said["queue"] == (
        "1st of 2 jobs of namespace team that wait for a lane; namespace team holds 0 lanes;"
        " you may not see those of other namespaces"
    )
    assert "shares" not in said


def test_a_weight_is_shown_where_it_counts() -> None:
    labels = {"rivals": {"voxfleet.dev/weight": "3"}}
    said = explain(OTHER, (), around(OTHER, shard(OTHER), namespace_labels=labels))
    assert said["shares"][0]["weight"] == 3


def test_a_job_with_all_the_lanes_that_it_asked_for_waits_for_none() -> None:
    narrow = job("narrow", parallelism=1)
    said = explain(narrow, (), around(narrow, shard(narrow), shard(narrow, 1, "mac-a")))
    assert said["queue"] == (
        "it is in no queue for lanes: it has as many lanes as its parallelism, 1; namespace team holds 1 lane"
    )


def test_each_mac_says_why_it_does_not_take_the_job() -> None:
    picky = job("picky", requirements={"memory": "16Gi", "chips": ["M2"]})
    night = [{"key": "rented", "value": "night"}]
    macs = (
        mac("asleep", available=False),
        mac("rented", taints=night),
        mac("small", memory_bytes=2**33),
        mac("small-too", memory_bytes=2**33),
        mac("other-chip", chip="Apple M4"),
        mac("busy"),
        mac("live", kind="Interactive"),
        mac("closed", access=[]),
        mac("free"),
    )
    said = explain(
        picky, (), around(picky, shard(picky), shard(picky, 1, "busy"), macs=macs, namespace_labels={"team": {}})
    )
    assert said["macs"] == [
        {"macs": "asleep", "reason": "asleep sleeps"},
        {"macs": "closed", "reason": "gives this namespace no access to the job's addresses (spec.access of MacAgent)"},
        {"macs": "rented", "reason": "has an untolerated taint {rented: night}"},
        {"macs": "other-chip", "reason": "has another chip (need M2)"},
        {"macs": "live", "reason": "has no Offline lane (its pools are Interactive)"},
        {"macs": "busy", "reason": "has no free lane"},
        {"macs": "small, small-too", "reason": "lacks memory (need 16Gi)"},
        {"macs": "free", "reason": "takes it, as far as can be seen"},
    ]


@pytest.mark.parametrize(
    ("seconds", "minutes", "taken"),
    [(None, 9, False), (None, 11, True), (1200.0, 19, False), (1200.0, 21, True)],
)
def test_a_mac_that_closes_too_soon_does_not_take_it(seconds: float | None, minutes: int, taken: bool) -> None:
    end = (NOW + timedelta(minutes=minutes)).strftime("%H:%M")
    closes = mac("closes", availability={"timeZone": "UTC", "windows": [{"start": "20:00", "end": end}]})
    items = [shard(NIGHTLY)]
    if seconds is not None:
        usage = {"chainId": "c", "firstSequence": 0, "lastSequence": 0, "rows": 1, "workMilliseconds": seconds * 1000}
        record = {"attempt": 1, "mac": "mac-a", "outcome": "Succeeded", "usage": usage}
        ended = {"attempt": 1, "commit": {"attempt": 1, "sha256": "a" * 64}, "attempts": [record]}
        items.append(AudioShard.load({**shard(NIGHTLY, 1).dump(), "status": ended}))
    said = explain(NIGHTLY, (), around(NIGHTLY, *items, macs=(closes,), namespace_labels={"team": {}}))
    expected = "takes it, as far as can be seen" if taken else "closes before the shard would end"
    assert said["macs"] == [{"macs": "closes", "reason": expected}]


def test_a_mac_that_plans_two_jobs_plans_no_third() -> None:
    planned = [job(f"planned-{number}") for number in range(2)]
    unplanned = NIGHTLY.model_copy(update={"status": NIGHTLY.status.model_copy(update={"plan": None})})
    plans = [shard(item, mac="busy").model_copy(update={"spec": a_shard(item, Stage.PLAN).spec}) for item in planned]
    own = a_shard(unplanned, Stage.PLAN)
    said = explain(
        unplanned, (), around(unplanned, own, *planned, *plans, macs=(mac("busy"),), namespace_labels={"team": {}})
    )
    assert said["macs"] == [{"macs": "busy", "reason": "plans or finalizes other jobs"}]
    free = (mac("live", kind="Interactive"),)
    said = explain(unplanned, (), around(unplanned, own, macs=free, namespace_labels={"team": {}}))
    assert said["macs"] == [{"macs": "live", "reason": "takes it, as far as can be seen"}]


def test_labels_that_one_may_not_see_are_no_reason() -> None:
    said = explain(NIGHTLY, (), around(NIGHTLY, shard(NIGHTLY), macs=(mac("closed", access=[]),)))
    assert said["macs"][0]["reason"].endswith(", unless the namespace has labels that you may not see")


def test_macs_that_one_may_not_see_are_left_out() -> None:
    seen = replace(around(NIGHTLY, shard(NIGHTLY)), macs=None)
    assert "macs" not in explain(NIGHTLY, (), seen)


@pytest.mark.parametrize("change", ["stalled", "suspended", "running", "done"])
def test_what_does_not_wait_is_in_no_queue(change: str) -> None:
    waiting, item = NIGHTLY, shard(NIGHTLY)
    if change == "stalled":
        stalled = {**ACCEPTED, "type": "Stalled"}
        waiting = AudioBatchJob.load(
            {**NIGHTLY.dump(), "status": {**NIGHTLY.status.dump(), "conditions": [ACCEPTED, stalled]}}
        )
    elif change == "suspended":
        waiting = NIGHTLY.model_copy(update={"spec": NIGHTLY.spec.model_copy(update={"suspend": True})})
    elif change == "running":
        item = shard(NIGHTLY, 0, "mac-a")
    else:
        commit = {"attempt": 1, "sha256": "a" * 64}
        item = AudioShard.load({**item.dump(), "status": {**item.status.dump(), "commit": commit}})
    assert "queue" not in explain(waiting, (), around(waiting, item))


def test_only_a_job_that_may_wait_looks_around() -> None:
    assert looks_around(NIGHTLY)
    assert not looks_around(a_job(status={})) and not looks_around(mac("mac-a"))


class Restricted:
    """An API server to one who may list jobs and shards in his namespace, and nothing else."""

    async def list(self, kind: type[Resource], namespace: str = "") -> tuple[Sequence[Resource], str]:
        if kind not in (AudioBatchJob, AudioShard) or namespace != "team":
            raise Forbidden(f"you may not list {kind.crd.plural}")
        return [NIGHTLY if kind is AudioBatchJob else shard(NIGHTLY)], "1"

    async def list_objects(self, path: str) -> tuple[Sequence[object], str]:
        raise Forbidden("you may not list namespaces")


async def test_whoever_may_see_less_is_told_less() -> None:
    found = await read_surroundings(cast(Kube, Restricted()), NIGHTLY, NOW)
    assert found == Surroundings(NOW, (NIGHTLY,), (shard(NIGHTLY),), macs=None, whole=False)


class RestrictedBesideEndpoints(Restricted):
    """`answer`: to a list of the namespace's endpoints."""

    def __init__(self, answer: VoiceEndpoint | Exception) -> None:
        self._answer = answer

    async def list(self, kind: type[Resource], namespace: str = "") -> tuple[Sequence[Resource], str]:
        if kind is not VoiceEndpoint or namespace != "team":
            return await super().list(kind, namespace)
        if isinstance(self._answer, Exception):
            raise self._answer
        return [self._answer], "1"


async def test_endpoints_of_his_namespace_are_an_addition_that_breaks_nothing() -> None:
    warm = endpoint_states()["its lane is warm"]
    failures = (NotFound("no such kind"), Unreadable("it is newer"))
    for answer, endpoints in ((warm, (warm,)), *((failure, ()) for failure in failures)):
        found = await read_surroundings(cast(Kube, RestrictedBesideEndpoints(answer)), NIGHTLY, NOW)
        assert found.endpoints == endpoints and found.jobs == (NIGHTLY,)
