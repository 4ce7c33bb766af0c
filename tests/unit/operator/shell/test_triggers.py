"""Which reconciles a change wakes."""

from __future__ import annotations

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceContract
from voxfleet_operator.cache import Cache
from voxfleet_operator.queue import PLACEMENT, Key
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


def test_a_contract_wakes_the_jobs_that_name_it() -> None:
    cache = cache_of(job("a", "calls"), job("b", "other"))
    assert triggers().keys_of_change(CONTRACT, cache) == {
        Key("VoiceContract", "ns", "calls"),
        Key("AudioBatchJob", "ns", "a"),
    }


def test_a_mac_wakes_itself_placement_and_the_shards_it_speaks_of() -> None:
    keys = triggers().keys_of_mac_change("mac-01", ["uid-a-00000", "uid-unknown"], cache_of(SHARD))
    assert keys == {Key("MacAgent", "", "mac-01"), *triggers().keys_of_change(SHARD, cache_of())}


def test_a_new_leader_looks_at_everything() -> None:
    keys = all_keys(cache_of(SHARD, CONTRACT, job("a", "calls")))
    assert {key.kind for key in keys} == {"Placement", "AudioShard", "VoiceContract", "AudioBatchJob"}
    assert MacAgent.crd.kind not in {key.kind for key in keys}
