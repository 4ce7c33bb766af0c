"""The cache: the newest version wins, deletions are final, lists are complete."""

from __future__ import annotations

import pytest

from voxfleet_api.kinds import AudioShard, VoiceContract
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key

SPEC = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}


def contract(name: str = "calls", *, version: int, uid: str = "u-1", digest: str | None = None) -> VoiceContract:
    return VoiceContract.load(
        {
            "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version)},
            "spec": SPEC,
            "status": {"digest": digest} if digest else {},
        }
    )


def shard(name: str, *, owner: str, version: int = 1) -> AudioShard:
    reference = {
        "apiVersion": "voxfleet.dev/v1alpha1",
        "kind": "AudioBatchJob",
        "name": "j",
        "uid": owner,
        "controller": True,
    }
    return AudioShard.load(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"uid-{name}",
                "resourceVersion": str(version),
                "ownerReferences": [reference],
            },
            "spec": {"jobRef": {"name": "j", "uid": owner}, "stage": "Plan"},
        }
    )


def test_an_older_event_does_not_undo_the_operators_own_newer_write() -> None:
    cache = Cache()
    assert cache.put(contract(version=5))
    assert cache.put(contract(version=9, digest=f"sha256:{'a' * 64}"))
    assert not cache.put(contract(version=7))
    assert not cache.put(contract(version=9))
    found = cache.get(VoiceContract, "ns", "calls")
    assert found is not None
    assert found.metadata.resource_version == "9"


def test_versions_are_compared_as_numbers() -> None:
    cache = Cache()
    cache.put(contract(version=99))
    assert cache.put(contract(version=100))


def test_a_late_write_does_not_revive_a_deleted_object() -> None:
    cache = Cache()
    cache.put(contract(version=5))
    assert cache.remove_uid("u-1")
    assert not cache.put(contract(version=6))
    assert cache.get(VoiceContract, "ns", "calls") is None


def test_a_late_deletion_leaves_the_namesake_alone() -> None:
    cache = Cache()
    cache.put(contract(version=5, uid="old"))
    cache.put(contract(version=9, uid="new"))
    assert not cache.remove_uid("old")
    assert cache.by_uid(VoiceContract, "new") is cache.get(VoiceContract, "ns", "calls") is not None
    assert cache.by_uid(VoiceContract, "old") is None


def test_a_full_list_adds_changes_and_removes() -> None:
    cache = Cache()
    cache.put(contract("stays", version=1, uid="u-1"))
    cache.put(contract("changes", version=2, uid="u-2"))
    cache.put(contract("vanished", version=3, uid="u-3"))
    cache.put(contract("written-after-the-list", version=30, uid="u-4"))
    listed = [
        contract("stays", version=1, uid="u-1"),
        contract("changes", version=12, uid="u-2"),
        contract("new", version=13, uid="u-5"),
    ]
    changed = cache.replace(VoiceContract, listed, "20")
    assert {item.metadata.name for item in changed} == {"changes", "vanished", "new"}
    assert [item.metadata.name for item in cache.all(VoiceContract)] == [
        "changes",
        "new",
        "stays",
        "written-after-the-list",
    ]


def test_kinds_and_namespaces_are_kept_apart() -> None:
    cache = Cache()
    cache.put(contract(version=1))
    cache.put(shard("calls", owner="job-1"))
    assert [key_of(item) for item in cache.all(AudioShard)] == [Key("AudioShard", "ns", "calls")]
    assert cache.all(VoiceContract, "elsewhere") == []
    assert cache.by_uid(VoiceContract, "uid-calls") is None


def test_shards_are_found_by_their_job() -> None:
    cache = Cache()
    for name in ("b", "a"):
        cache.put(shard(name, owner="job-1"))
    cache.put(shard("c", owner="job-2"))
    assert [item.metadata.name for item in cache.owned_by(AudioShard, "job-1")] == ["a", "b"]
    cache.remove_uid("uid-a")
    assert [item.metadata.name for item in cache.owned_by(AudioShard, "job-1")] == ["b"]
    assert cache.owned_by(VoiceContract, "job-1") == []


def test_namespaces_keep_their_labels() -> None:
    cache = Cache()
    assert cache.replace_namespaces({"a": {"team": "x"}, "b": {}})
    assert not cache.put_namespace("a", {"team": "x"})
    assert cache.put_namespace("a", {"team": "y"})
    assert cache.replace_namespaces({"a": {"team": "y"}})
    assert (dict(cache.namespace_labels("a")), dict(cache.namespace_labels("b"))) == ({"team": "y"}, {})


def test_what_was_known_of_an_object_stays_while_it_cannot_be_read() -> None:
    cache = Cache()
    cache.put(contract("newer-format", version=1, uid="u-1"))
    assert cache.replace(VoiceContract, [], "20", unreadable={"u-1"}) == []
    assert cache.by_uid(VoiceContract, "u-1") is not None
    cache.remove_uid("u-1")
    assert cache.by_uid(VoiceContract, "u-1") is None


def test_what_follows_from_a_version_is_worked_out_once_and_shared() -> None:
    cache, made = Cache(), list[str]()

    def name_of(given: AudioShard) -> str:
        made.append(given.metadata.resource_version)
        if given.metadata.name == "damaged":
            raise ValueError("damaged")
        return given.metadata.name

    cache.put(shard("a", owner="job", version=1))
    derived = cache.derived(AudioShard, name_of)
    assert cache.derived(AudioShard, name_of) is derived
    cache.put(shard("a", owner="job", version=2))
    (known,) = cache.all(AudioShard)
    assert [derived.of(known) for _ in range(3)] == ["a"] * 3
    assert made == ["1", "2"]
    cache.assume(known.model_copy())
    assert made == ["1", "2", "2"]
    cache.withdraw("uid-a")
    cache.put(shard("damaged", owner="job"))
    with pytest.raises(ValueError, match="damaged"):
        derived.of(cache.all(AudioShard)[1])
    assert cache.derived_values == 1
    cache.remove(known)
    assert cache.derived_values == 0 and derived.of(known) == "a", "worked out for whoever asks"
