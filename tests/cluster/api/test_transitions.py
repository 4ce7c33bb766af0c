"""What may change after creation, asked of a real API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from tests.cluster.api.specs import JOB, SHARD, STATEMENT, Json, changed
from tests.rig.api_server import ApiServer, Refused

from voxfleet_api.base import SpecModel
from voxfleet_api.kinds import KINDS, AudioBatchJob, AudioShard, MachineHourStatement, Resource
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.audio_shard import AudioShardSpec
from voxfleet_api.kinds.machine_hour_statement import MachineHourStatementSpec
from voxfleet_generate.structural import Schema, kind_schema

ADVICE = (
    "does not change; apply a job with another name instead",
    "does not change; it belongs to the operator",
    "never falls",
    "belongs to one Mac for ever",
    "a commit does not change",
    "a cursor never falls",
    "a cancelled job does not start again",
    "a final statement never changes",
    "a usage that is settled never changes",
)
DIGEST_A, DIGEST_B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ASSIGNED: Json = {"attempt": 2, "mac": "mac-a", "specDigest": DIGEST_A, "leaseSeconds": 60}
COMMIT: Json = {"attempt": 2, "sha256": "c" * 64}


@pytest.fixture
def job(server: ApiServer) -> Iterator[ApiServer]:
    server.create(changed(JOB, {"metadata.name": "transition", "spec.billingKey": "team"}))
    yield server
    server.delete("AudioBatchJob", "transition")


@pytest.fixture
def shard(server: ApiServer) -> Iterator[ApiServer]:
    server.create(changed(SHARD, {"metadata.name": "transition"}))
    patch_status(server, {**ASSIGNED})
    yield server
    server.delete("AudioShard", "transition")


@pytest.fixture
def statement(server: ApiServer) -> Iterator[ApiServer]:
    server.create(changed(STATEMENT, {"metadata.name": "transition"}))
    patch_cursors(server, 5, "chain-a", "chain-b")
    yield server
    server.delete("MachineHourStatement", "transition")


def patch_cursors(server: ApiServer, sequence: int, *chains: str, key: str = "k") -> dict[str, Any]:
    cursors = [{"chainId": chain, "sequence": sequence, "hash": "a" * 64, "ledgerKey": key} for chain in chains]
    return patch(server, "MachineHourStatement", {"status": {"cursors": cursors}}, "status")


def patch(server: ApiServer, kind: str, body: Json, subresource: str = "") -> dict[str, Any]:
    return server.patch(kind, "transition", body, subresource)


def patch_status(server: ApiServer, status: Json) -> dict[str, Any]:
    return patch(server, "AudioShard", {"status": status}, "status")


JOB_CHANGES: dict[str, object] = {
    "contractRef": {"name": "other"},
    "task": "Synthesize",
    "model": {"path": "/models/mine"},
    "input": {"manifest": {"uri": "file:///data/other.jsonl"}},
    "output": {"uri": "file:///elsewhere/"},
    "transcription": {"language": "en"},
    "synthesis": {"mode": "Preset", "voice": "anna"},
    "credentialsSecretRef": {"name": "s3"},
    "sharding": {"targetAudio": "1m"},
    "macSelector": {"matchLabels": {"site": "berlin"}},
    "tolerations": [{"key": "rented", "operator": "Exists"}],
    "requirements": {"memory": "16Gi"},
    "billingKey": "other",
    "only": "1",
    "source": {"jobRef": {"name": "night"}, "select": "Failed"},
}
SHARD_CHANGES: dict[str, object] = {
    "jobRef": {"name": "other"},
    "stage": "Plan",
    "ordinal": 1,
    "indexes": "0-4",
    "piece": {"path": "0", "inherits": ["parent-uid"], "afterAttempt": 3},
    "machineTime": {"macs": [], "audioMilliseconds": 0, "openAttempts": 0, "unverifiedAttempts": 0},
}

STATEMENT_CHANGES: dict[str, object] = {"mac": "mac-b", "month": "2026-12"}


@pytest.mark.parametrize("field", JOB_CHANGES)
def test_each_field_of_a_job_is_immutable_and_the_refusal_names_it(job: ApiServer, field: str) -> None:
    with pytest.raises(Refused, match=rf"spec\.{field}: .*{field} {ADVICE[0]}"):
        patch(job, "AudioBatchJob", {"spec": {field: JOB_CHANGES[field]}})


CLIPS: list[Json] = [{"id": "a", "uri": "file:///data/a.wav"}, {"id": "b", "uri": "file:///data/b.wav"}]
EXPRESSION: Json = {"key": "site", "operator": "In"}
LISTS: dict[str, tuple[list[object], Callable[[list[object]], object]]] = {
    "input.clips": ([*CLIPS], lambda items: {"manifest": None, "clips": items}),
    "input.prefix.include": (
        ["*.wav", "*.mp3"],
        lambda items: {"manifest": None, "prefix": {"uri": "file:///data/", "include": items}},
    ),
    "output.formats": (["jsonl", "txt"], lambda items: {"uri": "file:///data/results/", "formats": items}),
    "macSelector.matchExpressions[].values": (
        ["a", "b"],
        lambda items: {"matchExpressions": [{**EXPRESSION, "values": items}]},
    ),
    "tolerations": ([{"key": "rented"}, {"operator": "Exists"}], lambda items: items),
    "requirements.chips": (["M2", "M4"], lambda items: {"chips": items}),
}
"""Each list of a job's spec, with two items and how its top-level field holds them. Its order is part of the digest."""


@pytest.fixture
def job_with(server: ApiServer) -> Iterator[Callable[[str, object], ApiServer]]:
    def apply(field: str, value: object) -> ApiServer:
        body = changed(JOB, {"metadata.name": "transition"})
        spec = cast(Json, body["spec"])
        given = {k: item for k, item in value.items() if item is not None} if isinstance(value, dict) else value
        spec[field] = given
        server.create(body)
        return server

    yield apply
    server.delete("AudioBatchJob", "transition")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_not_reordered(job_with: Callable[[str, object], ApiServer], name: str) -> None:
    items, within = LISTS[name]
    field = name.split(".")[0]
    server = job_with(field, within(items))
    patch(server, "AudioBatchJob", {"spec": {field: within(items)}})
    with pytest.raises(Refused, match=rf"spec\.{field}: .*{field} {ADVICE[0]}"):
        patch(server, "AudioBatchJob", {"spec": {field: within([*reversed(items)])}})


@pytest.mark.parametrize("name", [name for name in LISTS if not name.endswith("values")])
def test_a_list_names_nothing_twice(job_with: Callable[[str, object], ApiServer], name: str) -> None:
    items, within = LISTS[name]
    with pytest.raises(Refused, match=r"write each value once|Duplicate value"):
        job_with(name.split(".")[0], within([items[0], items[0]]))


def list_paths(node: Schema, path: str) -> Iterator[str]:
    if node.get("type") == "array":
        yield path
        yield from list_paths(node["items"], f"{path}[]")
    for name, child in node.get("properties", {}).items():
        yield from list_paths(child, f"{path}.{name}" if path else name)


def test_every_list_of_a_frozen_spec_has_a_case() -> None:
    paths = {
        path
        for kind in KINDS
        if kind.crd.frozen_spec is not None
        for path in list_paths(kind_schema(kind)["properties"]["spec"], "")
    }
    assert paths - {"macSelector.matchExpressions", "piece.inherits", "machineTime.macs"} == set(LISTS)


def test_an_optional_field_is_not_removed_either(job: ApiServer) -> None:
    with pytest.raises(Refused, match=rf"spec\.billingKey: .*billingKey {ADVICE[0]}"):
        patch(job, "AudioBatchJob", {"spec": {"billingKey": None}})


@pytest.mark.parametrize("field", SHARD_CHANGES)
def test_each_field_of_a_shard_is_immutable_and_the_refusal_names_it(shard: ApiServer, field: str) -> None:
    with pytest.raises(Refused, match=rf"spec\.{field}: .*{field} {ADVICE[1]}"):
        patch(shard, "AudioShard", {"spec": {field: SHARD_CHANGES[field]}})


@pytest.mark.parametrize("field", STATEMENT_CHANGES)
def test_each_field_of_a_statement_is_immutable_and_the_refusal_names_it(statement: ApiServer, field: str) -> None:
    with pytest.raises(Refused, match=rf"spec\.{field}: .*{field} {ADVICE[1]}"):
        patch(statement, "MachineHourStatement", {"spec": {field: STATEMENT_CHANGES[field]}})


@pytest.mark.parametrize(
    ("sequence", "chains"), [(4, ("chain-a", "chain-b")), (6, ("chain-a",)), (0, ())], ids=["lower", "one gone", "gone"]
)
def test_a_cursor_never_falls(statement: ApiServer, sequence: int, chains: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match=ADVICE[5]):
        patch_cursors(statement, sequence, *chains)


def test_a_cursor_keeps_its_key(statement: ApiServer) -> None:
    with pytest.raises(Refused, match=ADVICE[5]):
        patch_cursors(statement, 6, "chain-a", "chain-b", key="another")


def test_a_cursor_moves_on_and_chains_join(statement: ApiServer) -> None:
    cursors = patch_cursors(statement, 9, "chain-b", "chain-a", "chain-c")["status"]["cursors"]
    assert [cursor["sequence"] for cursor in cursors] == [9, 9, 9]


FINAL = {
    "type": "Final",
    "status": "True",
    "reason": "Final",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-12-03T00:00:00Z",
}


def test_a_final_statement_never_changes(statement: ApiServer) -> None:
    def write(**status: object) -> dict[str, Any]:
        return patch(statement, "MachineHourStatement", {"status": status}, "status")

    write(conditions=[FINAL], machineSeconds="5.000", rows=3)
    total = {"namespace": "speech", "class": "Retry", "machineSeconds": "1.000"}
    changes: list[dict[str, object]] = [
        {"machineSeconds": "6.000"},
        {"rows": 4},
        {"rows": None},
        {"estimatedSeconds": "1.000"},
        {"totals": [total]},
        {"corrections": [{"month": "2026-10", "machineSeconds": "1.000", "rows": 1}]},
        {"conditions": [{**FINAL, "status": "False"}]},
        {"conditions": []},
    ]
    for change in changes:
        with pytest.raises(Refused, match=ADVICE[7]):
            write(**change)
    write(observedGeneration=2, machineSeconds="5.000")


def test_a_settled_usage_never_changes(job: ApiServer) -> None:
    def write(**usage: object) -> dict[str, Any]:
        return patch(job, "AudioBatchJob", {"status": {"usage": usage}}, "status")

    write(machineSeconds="4.000", rows=2)
    write(machineSeconds="5.000", rows=3, settled=True)
    for change in (
        {"machineSeconds": "6.000"},
        {"machineHours": "0.0020"},
        {"rows": 4},
        {"rows": None},
        {"estimatedSeconds": "1.000"},
        {"unverifiedAttempts": 1},
        {"settled": False},
        {"settled": None},
    ):
        with pytest.raises(Refused, match=ADVICE[8]):
            write(**change)
    with pytest.raises(Refused, match=ADVICE[8]):
        patch(job, "AudioBatchJob", {"status": {"usage": None}}, "status")
    patch(job, "AudioBatchJob", {"status": {"observedGeneration": 2, "usage": {"settled": True}}}, "status")


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-11", ""])
def test_a_month_is_one(server: ApiServer, month: str) -> None:
    with pytest.raises(Refused, match=r"spec\.month"):
        server.create(changed(STATEMENT, {"spec.month": month}))


@pytest.mark.parametrize(
    ("kind", "spec", "changes"),
    [
        (AudioBatchJob, AudioBatchJobSpec, JOB_CHANGES),
        (AudioShard, AudioShardSpec, SHARD_CHANGES),
        (MachineHourStatement, MachineHourStatementSpec, STATEMENT_CHANGES),
    ],
)
def test_every_immutable_field_has_a_case(
    kind: type[Resource], spec: type[SpecModel], changes: dict[str, object]
) -> None:
    frozen = kind.crd.frozen_spec
    assert frozen is not None
    assert set(changes) == {info.alias for info in spec.model_fields.values()} - set(frozen.mutable)


JOB_EDITS: dict[str, list[object]] = {
    "parallelism": [9],
    "priority": [5, -5],
    "activeDeadlineSeconds": [60, 3600, None],
    "maxMachineSeconds": [60, 3600, None],
    "suspend": [True, False],
    "cancel": [True],
}


@pytest.mark.parametrize("field", JOB_EDITS)
def test_how_a_job_runs_may_change(job: ApiServer, field: str) -> None:
    for value in JOB_EDITS[field]:
        assert patch(job, "AudioBatchJob", {"spec": {field: value}})["spec"].get(field) == value


def test_each_field_that_may_change_has_a_case() -> None:
    frozen = AudioBatchJob.crd.frozen_spec
    assert frozen is not None and set(JOB_EDITS) == set(frozen.mutable)


@pytest.mark.parametrize("value", [False, None])
def test_a_cancelled_job_does_not_start_again(job: ApiServer, value: object) -> None:
    patch(job, "AudioBatchJob", {"spec": {"cancel": True}})
    with pytest.raises(Refused, match=rf"spec\.cancel: .*{ADVICE[6]}"):
        patch(job, "AudioBatchJob", {"spec": {"cancel": value}})


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        pytest.param({"attempt": 1}, ADVICE[2], id="smaller attempt"),
        pytest.param({"attempt": None}, ADVICE[2], id="attempt removed"),
        pytest.param({"mac": "mac-b"}, ADVICE[3], id="same attempt, other Mac"),
        pytest.param({"specDigest": DIGEST_B}, ADVICE[3], id="same attempt, other spec"),
    ],
)
def test_the_fencing_token(shard: ApiServer, status: Json, advice: str) -> None:
    with pytest.raises(Refused, match=advice):
        patch_status(shard, status)


def test_the_next_attempt_may_go_to_another_mac(shard: ApiServer) -> None:
    assert patch_status(shard, {"attempt": 3, "mac": "mac-b", "specDigest": DIGEST_B})["status"]["mac"] == "mac-b"


@pytest.mark.parametrize("commit", [{"attempt": 2, "sha256": "d" * 64}, None], ids=["changed", "removed"])
def test_a_commit_stands(shard: ApiServer, commit: Json | None) -> None:
    patch_status(shard, {"commit": COMMIT})
    with pytest.raises(Refused, match=ADVICE[4]):
        patch_status(shard, {"commit": commit})
