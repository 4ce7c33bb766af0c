"""What may change after creation, asked of a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cluster.api.specs import JOB, SHARD, Json, changed

from voxfleet_dev.controlplane import ControlPlane, KubectlFailed

ADVICE = (
    "a job's spec does not change, but for parallelism",
    "an AudioShard's spec does not change",
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


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"billingKey": "other"}, id="changed"),
        pytest.param({"billingKey": None}, id="removed"),
        pytest.param({"credentialsSecretRef": {"name": "s3"}}, id="added"),
        pytest.param({"output": {"uri": "file:///elsewhere/"}}, id="output"),
        pytest.param({"sharding": {"targetAudio": "1m"}}, id="defaulted field"),
        pytest.param({"macSelector": {"matchLabels": {"site": "berlin"}}}, id="selector"),
    ],
)
def test_a_job_does_not_change(job: ControlPlane, spec: Json) -> None:
    with pytest.raises(KubectlFailed, match=ADVICE[0]):
        patch(job, "abj", {"spec": spec})


def test_parallelism_may_change(job: ControlPlane) -> None:
    assert "patched" in patch(job, "abj", {"spec": {"parallelism": 9}})


def test_a_shard_does_not_change(shard: ControlPlane) -> None:
    with pytest.raises(KubectlFailed, match=ADVICE[1]):
        patch(shard, "ash", {"spec": {"indexes": "0-4"}})


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
