"""The attempt specs of a run: the same documents always give the same specs."""

from __future__ import annotations

import re
from pathlib import Path

from voxfleet_agent.standalone.attempt_specs import AttemptSpecs, Committed, FrozenPlan, named_addresses
from voxfleet_agent.standalone.job_documents import DocumentFile, read_job
from voxfleet_agent.standalone.mlx_audio_settings import settle_settings
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_model import HubModel, ModelSource
from voxfleet_api.protocol import ShardResult
from voxfleet_api.results import Counts, PlanResult

EXAMPLES = Path(__file__).parents[4] / "examples"
JOB = (EXAMPLES / "job.yaml").read_text()
CONTRACT = (EXAMPLES / "contract.yaml").read_text()
FOUND = PlanResult(
    manifest_sha256="a" * 64,
    model_digest="sha256:" + "b" * 64,
    model_revision="c0ffee",
    boundaries=(0, 3, 5, 9),
    audio_seconds="9.000",
)
PLAN = FrozenPlan(2, FOUND)


def attempt_specs(job: str = JOB, contract: str = CONTRACT, **environment: str) -> AttemptSpecs:
    documents = read_job([DocumentFile("job.yaml", job), DocumentFile("contract.yaml", contract)])
    settings = settle_settings(environment, Path("/home/somebody"), documents.contract.spec)
    return AttemptSpecs.of(documents.job, documents.contract.spec, settings.settings())


def test_the_same_documents_are_the_same_run_and_other_documents_another() -> None:
    first = attempt_specs()
    assert first.uid == attempt_specs(job=f"# a comment\n{JOB}").uid
    assert first.uid == attempt_specs(job=JOB.replace("parallelism: 2", "parallelism: 8")).uid
    others = [
        attempt_specs(job=JOB.replace("name: nightly", "name: weekly")),
        attempt_specs(job=JOB.replace("15s", "16s")),
        attempt_specs(contract=CONTRACT.replace("maxClip: 30s", "maxClip: 31s")),
        attempt_specs(*(text.replace("namespace: speech", "namespace: other") for text in (JOB, CONTRACT))),
    ]
    assert len({first.uid, *(other.uid for other in others)}) == 1 + len(others)
    assert first.output_folder == f"file:///Volumes/audio/results/nightly-{first.uid[:8]}"


def test_settings_that_change_results_are_part_of_the_identity_and_folders_are_not() -> None:
    first = attempt_specs()
    assert attempt_specs(TMPDIR="/fast", MLX_AUDIO_QUARANTINE_DIR="/kept").uid == first.uid
    assert attempt_specs(MLX_AUDIO_BATCH_SIZE="4").uid == first.uid  # the default
    others = [attempt_specs(MLX_AUDIO_BATCH_SIZE="2"), attempt_specs(MLX_AUDIO_MAX_RETRIES="7")]
    assert len({first.uid, *(other.uid for other in others)}) == 3


def test_a_given_uid_is_kept_and_the_identity_still_differs() -> None:
    uid = "0f5b6a3e-1111-2222-3333-444455556666"
    job = JOB.replace("  name: nightly", f"  name: nightly\n  uid: {uid}")
    first, other = attempt_specs(job=job), attempt_specs(job=job, MLX_AUDIO_BATCH_SIZE="2")
    assert first.uid == other.uid == uid
    assert first.identity == attempt_specs(job=job).identity != other.identity


def test_a_run_has_a_shard_for_each_lane_unless_the_job_says_how_large_shards_are() -> None:
    assert attempt_specs().min_shards(2) is None, "the example names its sharding"
    specs = attempt_specs(job=re.sub(r"\n  sharding:.*", "", JOB))
    assert (specs.min_shards(1), specs.min_shards(2)) == (None, 2)
    planned = specs.plan(1, 2).plan
    assert planned is not None and planned.min_shards == 2
    assert specs.plan(1).dump() == specs.plan(1, None).dump() and "minShards" not in specs.plan(1).dump()["plan"]


def test_every_shard_has_a_uid_of_its_own() -> None:
    specs = attempt_specs()
    uids = [specs.shard_uid(Stage.PLAN), specs.shard_uid(Stage.FINALIZE)]
    uids += [specs.shard_uid(Stage.PROCESS, ordinal) for ordinal in range(11)]
    assert len(set(uids)) == len(uids)


def test_a_process_attempt_names_what_plan_froze() -> None:
    spec = attempt_specs().process(PLAN, 1, 4)
    assert spec.process is not None
    assert (spec.process.plan_attempt, spec.process.ordinal, spec.process.indexes) == (2, 1, "3-4")
    assert spec.process.boundaries_digest == digest_of([0, 3, 5, 9])
    assert (spec.attempt, spec.stage, spec.plan, spec.finalize) == (4, Stage.PROCESS, None, None)


def test_a_hub_model_is_named_by_the_commit_that_plan_found() -> None:
    specs = attempt_specs()
    hub = ModelSource(hub=HubModel(id="somebody/model", revision="main"))
    job = specs.job.model_copy(update={"spec": specs.job.spec.model_copy(update={"model": hub})})
    process = AttemptSpecs(job, specs.contract, specs.uid).process(PLAN, 0, 1).process
    assert process is not None and process.model.hub is not None and process.model.hub.revision == "c0ffee"


def test_finalize_names_the_commits_and_what_did_not_run() -> None:
    delivered = [
        Committed(ordinal, ordinal + 1, ShardResult(commit_sha256=str(ordinal) * 64, counts=Counts()))
        for ordinal in (2, 0)
    ]
    finalize = attempt_specs().finalize(PLAN, delivered, 1).finalize
    assert finalize is not None
    assert [(ref.attempt, ref.sha256[0]) for ref in finalize.commits] == [(1, "0"), (3, "2")]
    assert (finalize.total, finalize.not_run) == (9, "3-4")


def test_a_run_may_touch_only_the_addresses_that_its_job_names() -> None:
    assert named_addresses(attempt_specs().job) == ("file:///Volumes/audio/clips/", "file:///Volumes/audio/results/")
