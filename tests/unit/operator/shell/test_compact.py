"""Objects in the cache share what they have in common, and say what they said."""

from __future__ import annotations

import gc
from typing import Any

from tests.bench.stored_objects import Shape, bodies, load

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_operator.compact import LAST_APPLIED, Compactor

SHAPE = Shape(jobs=2, shards_a_job=3, macs=2, live=2, committed=1)


def pairs() -> tuple[Compactor, list[tuple[Resource, Resource]]]:
    """Each object as it was parsed, and compact."""
    compactor, all_bodies = Compactor(), list(bodies(SHAPE))
    return compactor, [(load(body), compactor.compact(load(body))) for body in all_bodies]


def test_a_compact_object_says_what_it_said() -> None:
    _, found = pairs()
    for parsed, compact in found:
        assert compact == parsed and compact.dump() == parsed.dump()
        assert compact.metadata.model_fields_set == parsed.metadata.model_fields_set
        assert compact.model_copy(update={"metadata": parsed.metadata}) == parsed


def test_a_copy_with_other_fields_changes_no_other_object() -> None:
    _, found = pairs()
    shards = [compact for _, compact in found if isinstance(compact, AudioShard)]
    before = [set(shard.status.model_fields_set) for shard in shards]
    shards[0].status.model_copy(update={"scratch_residue_bytes": 1, "superseded_by": ("a", "b")})
    assert [set(shard.status.model_fields_set) for shard in shards] == before


def test_what_objects_have_in_common_is_there_once() -> None:
    _, found = pairs()
    first, second = (compact for _, compact in found[-2:])
    assert isinstance(first, AudioShard) and isinstance(second, AudioShard)
    assert first.spec.job_ref is second.spec.job_ref
    assert first.metadata.owner_references[0] is second.metadata.owner_references[0]
    assert first.metadata.namespace is second.metadata.namespace
    assert first.metadata.model_fields_set is second.metadata.model_fields_set
    jobs = [compact for _, compact in found if isinstance(compact, AudioBatchJob)]
    contracts = [job.status.contract for job in jobs]
    assert contracts[0] is not None and contracts[1] is not None and contracts[0].spec is contracts[1].spec
    assert digest_of(contracts[0].spec) == contracts[0].digest


def test_nothing_is_remembered_of_what_is_gone() -> None:
    compactor, found = pairs()
    assert len(compactor)
    del found
    gc.collect()
    assert len(compactor) == 0


def test_kubectls_copy_of_the_object_is_dropped_and_no_other_annotation() -> None:
    body: dict[str, Any] = next(iter(bodies(SHAPE)))
    body["metadata"]["annotations"] = {LAST_APPLIED: "{}", "voxfleet.dev/other": "kept"}
    assert Compactor().compact(load(body)).metadata.annotations == {"voxfleet.dev/other": "kept"}
