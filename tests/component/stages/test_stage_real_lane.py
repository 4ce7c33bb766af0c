"""All three stages with the example clips, the packaged model and a real lane."""

from __future__ import annotations

import json
from pathlib import Path

from tests.component.stages.stage_rig import Job, commit_ref, planned

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.models.store import ModelStore
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=tuple(Container), sample_rates_hz=(16_000, 22_050, 44_100, 48_000), channels=(1, 2)),
    conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
)


async def test_the_example_clips_come_out_as_expected(tmp_path: Path) -> None:
    job = Job(tmp_path, models=ModelStore(tmp_path / "models", 2**20), contract=CONTRACT)
    for path in CLIPS.iterdir():
        (job.clips / path.name).write_bytes(path.read_bytes())
    manifest = JobInput(manifest=ManifestInput(uri=f"{job.clips.as_uri()}/manifest.jsonl"))
    plan = planned(await job.plan(job_input=manifest, shard_audio_milliseconds=15_000))
    lane = ProcessLane("offline-0", tmp_path / "lane")
    (tmp_path / "lane").mkdir()
    try:
        commits = [
            commit_ref(await job.process(plan, ordinal=ordinal, lane=lane), ordinal=ordinal)
            for ordinal in range(len(plan.boundaries) - 1)
        ]
    finally:
        await lane.kill()
    result = await job.finalize(plan, commits)

    expected = [json.loads(line) for line in (CLIPS / "expected.jsonl").read_text().splitlines()]
    rows = {row.custom_id: row for row in job.results()}
    assert len(rows) == len(expected)
    bad = {row["id"]: row["class"] for row in expected if "class" in row}
    assert {row.custom_id: row.error.failure_class for row in rows.values() if row.error is not None} == bad
    assert {clip.id for clip in result.quarantine} == set(bad)
    words = [row for row in expected if "text" in row]
    right = sum(rows[row["id"]].text == row["text"] for row in words)
    assert right >= 0.95 * len(words)
