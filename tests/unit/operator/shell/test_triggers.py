"""Which reconciles a change wakes."""

from __future__ import annotations

from tests.unit.operator.decisions.schedule_objects import a_schedule, moment, slot_job

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceContract, VoiceEndpoint
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_operator.cache import Cache
from voxfleet_operator.queue import PLACEMENT, RESTORE, Key
from voxfleet_operator.registry import triggers
from voxfleet_operator.triggers import all_keys


def metadata(name: str, namespace: str = "ns") -> dict[str, str]:
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": "1"}


def job(name: str, contract: str) -> AudioBatchJob:
    spec = {
        "contractRef": {"name": contract},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    return AudioBatchJob.load({"metadata": metadata(name), "spec": spec})


SHARD = AudioShard.load(
    {"metadata": metadata("a-00000"), "spec": {"jobRef": {"name": "a", "uid": "uid-a"}, "stage": "Plan"}}
)
CONTRACT = VoiceContract.load(
    {
        "metadata": metadata("calls"),
        "spec": {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}},
    }
)


def cache_of(*resources: Resource) -> Cache:
    cache = Cache()
    for resource in resources:
        cache.put(resource)
    return cache


def test_a_shard_wakes_its_job_and_placement() -> None:
    keys = triggers().keys_of_change(SHARD, cache_of())
    assert keys == {Key("AudioShard", "ns", "a-00000"), Key("AudioBatchJob", "ns", "a"), PLACEMENT}


def test_a_job_wakes_its_schedule_when_it_comes_ends_or_goes_and_not_by_its_progress() -> None:
    schedule, key = a_schedule(), Key("AudioBatchSchedule", "team", "nightly")
    ended = slot_job(schedule, moment("2026-11-21 02:00"), ended="Complete", at="2026-11-21T03:00:00Z")
    running = slot_job(schedule, moment("2026-11-21 02:00"))
    new = running.model_copy(update={"status": AudioBatchJobStatus()})
    assert key in triggers().keys_of_change(ended, cache_of(ended))
    assert key in triggers().keys_of_change(new, cache_of(new))
    assert key in triggers().keys_of_change(running, cache_of()), "it is gone"
    assert key not in triggers().keys_of_change(running, cache_of(running))


def test_a_contract_wakes_the_jobs_that_name_it() -> None:
    cache = cache_of(job("a", "calls"), job("b", "other"))
    assert triggers().keys_of_change(CONTRACT, cache) == {
        Key("VoiceContract", "ns", "calls"),
        Key("AudioBatchJob", "ns", "a"),
    }


def rerun(name: str, source: str, **status: object) -> AudioBatchJob:
    body = job(name, "calls").dump()
    spec = {key: value for key, value in body["spec"].items() if key != "input"}
    source_ref = {"jobRef": {"name": source}, "select": "Failed"}
    return AudioBatchJob.load({**body, "spec": {**spec, "source": source_ref}, "status": status})


def test_a_job_that_comes_ends_or_goes_wakes_the_reruns_that_wait_for_it() -> None:
    accepted = {"contract": {"digest": f"sha256:{'a' * 64}", "spec": CONTRACT.spec.dump()}}
    new = job("a", "calls")
    running = AudioBatchJob.load({**new.dump(), "status": {"observedGeneration": 1}})
    ended_by = {"type": "Failed", "status": "True", "reason": "Cancelled", "lastTransitionTime": "2026-11-20T22:00:00Z"}
    ended = AudioBatchJob.load({**new.dump(), "status": {"observedGeneration": 1, "conditions": [ended_by]}})
    others = (rerun("b", "a"), rerun("c", "other"), rerun("d", "a", **accepted))
    own, woken = Key("AudioBatchJob", "ns", "a"), Key("AudioBatchJob", "ns", "b")
    for changed, cache in (
        (new, cache_of(new, *others)),
        (ended, cache_of(ended, *others)),
        (running, cache_of(*others)),
    ):
        assert {own, woken} <= triggers().keys_of_change(changed, cache)
        assert Key("AudioBatchJob", "ns", "c") not in triggers().keys_of_change(changed, cache)
        assert Key("AudioBatchJob", "ns", "d") not in triggers().keys_of_change(changed, cache)
    assert woken not in triggers().keys_of_change(running, cache_of(running, *others)), "progress wakes nobody"


def test_a_mac_wakes_itself_placement_and_the_shards_it_speaks_of() -> None:
    keys = triggers().keys_of_mac_change("mac-01", ["uid-a-00000", "uid-unknown"], cache_of(SHARD))
    assert keys == {Key("MacAgent", "", "mac-01"), *triggers().keys_of_change(SHARD, cache_of())}


def endpoint(name: str, contract: str = "calls", **status: object) -> VoiceEndpoint:
    spec = {"contractRef": {"name": contract}, "model": {"builtin": {"name": "commands"}}, "memoryCap": "1Gi"}
    return VoiceEndpoint.load({"metadata": metadata(name), "spec": spec, "status": status})


def lane(mac: str) -> dict[str, object]:
    since, digest = "2026-11-20T22:00:00Z", f"sha256:{'a' * 64}"
    return {"mac": mac, "generation": 1, "specDigest": digest, "state": "Warm", "since": since}


def endpoint_keys(keys: set[Key]) -> set[str]:
    return {key.name for key in keys if key.kind == VoiceEndpoint.crd.kind}


def test_a_mac_wakes_the_endpoints_with_a_lane_there_and_those_that_lack_one() -> None:
    held, waits = endpoint("held", macs=[lane("mac-01")]), endpoint("waits", pendingReason="0/1 Macs fit")
    cache = cache_of(held, waits, endpoint("elsewhere", macs=[lane("mac-02")]))
    assert endpoint_keys(triggers().keys_of_mac_change("mac-01", [], cache)) == {"held", "waits"}
    assert endpoint_keys(triggers().keys_of_change(held, cache)) == {"held", "waits"}, "it may have given up a lane"


def test_a_contract_wakes_the_endpoints_that_wait_for_it_and_those_alone() -> None:
    accepted = {"contract": {"digest": f"sha256:{'a' * 64}", "spec": CONTRACT.spec.dump(), "generation": 1}}
    new = endpoint("new")
    old = VoiceEndpoint.load(
        {**endpoint("old").dump(), "metadata": {**metadata("old"), "generation": 1}, "status": accepted}
    )
    cache = cache_of(new, old, endpoint("other", contract="other"))
    assert endpoint_keys(triggers().keys_of_change(CONTRACT, cache)) == {"new"}


def test_a_new_leader_looks_at_everything() -> None:
    keys = all_keys(cache_of(SHARD, CONTRACT, job("a", "calls")))
    assert {key.kind for key in keys - {RESTORE}} == {"Placement", "AudioShard", "VoiceContract", "AudioBatchJob"}
    assert RESTORE in keys, "etcd may have lost statements that the archive has"
    assert MacAgent.crd.kind not in {key.kind for key in keys}
