"""What may change after creation, asked of a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cluster.api.specs import JOB, SHARD, Json, changed

from voxfleet_api.base import SpecModel
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.audio_shard import AudioShardSpec
from voxfleet_dev.controlplane import ControlPlane, KubectlFailed

ADVICE = (
    "does not change; apply a job with another name instead",
    "does not change; it belongs to the operator",
    "never falls",
    "belongs to one Mac for ever",
    "a commit does not change",
)
DIGEST_A, DIGEST_B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ASSIGNED: Json = {"attempt": 2, "mac": "mac-a", "specDigest": DIGEST_A, "leaseSeconds": 60}
COMMIT: Json = {"attempt": 2, "sha256": "c" * 64}


@pytest.fixture
def job(installed_crds: ControlPlane) -> Iterator[ControlPlane]:
    installed_crds.apply(changed(JOB, {"metadata.name": "transition", "spec.billingKey": "team"}))
    yield installed_crds
    installed_crds.kubectl("delete", "abj", "transition", "--ignore-not-found")


@pytest.fixture
def shard(installed_crds: ControlPlane) -> Iterator[ControlPlane]:
    installed_crds.apply(changed(SHARD, {"metadata.name": "transition"}))
    patch_status(installed_crds, {**ASSIGNED})
    yield installed_crds
    installed_crds.kubectl("delete", "ash", "transition", "--ignore-not-found")


def patch(control_plane: ControlPlane, kind: str, body: Json, *flags: str) -> str:
    return control_plane.kubectl("patch", kind, "transition", *flags, "--type=merge", "-p", json.dumps(body))


def patch_status(control_plane: ControlPlane, status: Json) -> str:
    return patch(control_plane, "ash", {"status": status}, "--subresource=status")


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
    "billingKey": "other",
}
SHARD_CHANGES: dict[str, object] = {
    "jobRef": {"name": "other"},
    "stage": "Plan",
    "ordinal": 1,
    "indexes": "0-4",
}


@pytest.mark.parametrize("field", JOB_CHANGES)
def test_each_field_of_a_job_is_immutable_and_the_refusal_names_it(job: ControlPlane, field: str) -> None:
    with pytest.raises(KubectlFailed, match=rf"spec\.{field}: .*{field} {ADVICE[0]}"):
        patch(job, "abj", {"spec": {field: JOB_CHANGES[field]}})


def test_an_optional_field_is_not_removed_either(job: ControlPlane) -> None:
    with pytest.raises(KubectlFailed, match=rf"spec\.billingKey: .*billingKey {ADVICE[0]}"):
        patch(job, "abj", {"spec": {"billingKey": None}})


@pytest.mark.parametrize("field", SHARD_CHANGES)
def test_each_field_of_a_shard_is_immutable_and_the_refusal_names_it(shard: ControlPlane, field: str) -> None:
    with pytest.raises(KubectlFailed, match=rf"spec\.{field}: .*{field} {ADVICE[1]}"):
        patch(shard, "ash", {"spec": {field: SHARD_CHANGES[field]}})


@pytest.mark.parametrize(
    ("kind", "spec", "changes"),
    [(AudioBatchJob, AudioBatchJobSpec, JOB_CHANGES), (AudioShard, AudioShardSpec, SHARD_CHANGES)],
)
def test_every_immutable_field_has_a_case(
    kind: type[Resource], spec: type[SpecModel], changes: dict[str, object]
) -> None:
    frozen = kind.crd.frozen_spec
    assert frozen is not None
    assert set(changes) == {info.alias for info in spec.model_fields.values()} - set(frozen.mutable)


def test_parallelism_may_change(job: ControlPlane) -> None:
    assert "patched" in patch(job, "abj", {"spec": {"parallelism": 9}})


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        pytest.param({"attempt": 1}, ADVICE[2], id="smaller attempt"),
        pytest.param({"attempt": None}, ADVICE[2], id="attempt removed"),
        pytest.param({"mac": "mac-b"}, ADVICE[3], id="same attempt, other Mac"),
        pytest.param({"specDigest": DIGEST_B}, ADVICE[3], id="same attempt, other spec"),
    ],
)
def test_the_fencing_token(shard: ControlPlane, status: Json, advice: str) -> None:
    with pytest.raises(KubectlFailed, match=advice):
        patch_status(shard, status)


def test_the_next_attempt_may_go_to_another_mac(shard: ControlPlane) -> None:
    assert "patched" in patch_status(shard, {"attempt": 3, "mac": "mac-b", "specDigest": DIGEST_B})


@pytest.mark.parametrize("commit", [{"attempt": 2, "sha256": "d" * 64}, None], ids=["changed", "removed"])
def test_a_commit_stands(shard: ControlPlane, commit: Json | None) -> None:
    patch_status(shard, {"commit": COMMIT})
    with pytest.raises(KubectlFailed, match=ADVICE[4]):
        patch_status(shard, {"commit": commit})
