"""What an attempt is told."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.job_objects import a_contract, a_job, a_shard, committed
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.reconcile.credentials import CredentialsIncomplete, s3_credentials
from voxfleet_operator.reconcile.shard.attempt_spec import SpecNotReady, attempt_request, attempt_spec


def test_a_spec_is_the_same_for_everybody_who_builds_it() -> None:
    job = a_job(model={"hub": {"id": "org/model", "revision": "main"}}, billingKey="team-speech")
    shards = [
        committed(job, Stage.PROCESS, 1, succeeded=40),
        a_shard(job, Stage.PROCESS, 0),
        a_shard(job, Stage.FINALIZE),
    ]
    process = attempt_spec(job, shards[1], 2, shards)
    assert process.process is not None and process.process.model.hub is not None
    assert process.process.model.hub.revision == "abc123", "a branch is named by the commit that Plan found"
    assert (process.process.indexes, process.billing_key) == ("0-59", "team-speech")
    assert process.output_folder == "file:///data/out/job-12345678"
    assert digest_of(process) == digest_of(attempt_spec(AudioBatchJob.load(job.dump()), shards[1], 2, shards[::-1]))
    request = attempt_request(process, 30, None, ("file:///data/",), batch_halvings=0)
    assert request.spec_digest == digest_of(AttemptSpec.load(request.spec))
    assert digest_of(attempt_spec(job, shards[1], 3, shards)) != request.spec_digest

    finalize = attempt_spec(job, shards[2], 1, shards).finalize
    assert finalize is not None and finalize.not_run == "0-59"
    assert [commit.shard_uid for commit in finalize.commits] == ["job-00001-uid"]


def test_nothing_is_told_before_its_ground_is_frozen() -> None:
    with pytest.raises(SpecNotReady, match="not accepted"):
        attempt_spec(a_job({}), a_shard(a_job(), Stage.PLAN), 1, [])
    accepted = a_job({"contract": {"digest": f"sha256:{sha('c')}", "spec": a_contract().spec.dump()}})
    with pytest.raises(SpecNotReady, match="has no plan"):
        attempt_spec(accepted, a_shard(a_job(), Stage.PROCESS, 0), 1, [])


def test_credentials_stay_out_of_texts() -> None:
    data = {"AWS_ACCESS_KEY_ID": b"id-of-key\n", "AWS_SECRET_ACCESS_KEY": b"very-secret", "AWS_REGION": b"eu"}
    credentials = s3_credentials(data, "team", "s3")
    assert credentials.access_key_id.get_secret_value() == "id-of-key" and credentials.region == "eu"
    assert "very-secret" not in repr(credentials)
    with pytest.raises(CredentialsIncomplete, match="team/s3 has no key AWS_SECRET_ACCESS_KEY"):
        s3_credentials({"AWS_ACCESS_KEY_ID": b"id"}, "team", "s3")
