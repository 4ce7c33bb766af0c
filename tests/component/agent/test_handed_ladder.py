"""Two agents with a real model: one measures the batch sizes, the other one is handed them and measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Batching, Ladder
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import LadderList
from voxfleet_api.run_record import RunRecord

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=tuple(Container), sample_rates_hz=(16_000, 22_050, 44_100, 48_000), channels=(1, 2)),
    conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
    batching=Batching(ladder=Ladder(to=2)),
)


@pytest.fixture
def macs(tmp_path: Path) -> Iterator[list[AgentProcess]]:
    with ExitStack() as stack:
        output = tmp_path / "output"
        output.mkdir()
        allow = [f"file://{CLIPS}/", f"file://{output}/"]
        yield [stack.enter_context(AgentProcess(tmp_path / name, allow)) for name in ("mac-a", "mac-b")]


def test_the_second_mac_is_handed_what_the_first_has_measured(macs: list[AgentProcess], tmp_path: Path) -> None:
    first, second = macs
    manifest = JobInput(manifest=ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl"))
    job = JobSpecs(manifest, f"file://{tmp_path}/output/", CONTRACT, shard_audio_milliseconds=40_000)
    one, two = list(job.process(first.plan(job)))[:2]
    first.succeed(one)
    (measured,) = LadderList.load_json(first.get("/v1/ladders")).ladders
    second.succeed(two, ladder=measured.model_copy(update={"measured_on": "mac-a"}))

    def run(spec: AttemptSpec) -> RunRecord:
        return RunRecord.load_json((job.local_folder / f"parts/{spec.shard_uid}/1/run.json").read_bytes())

    assert run(one).ladder_milliseconds > 10 * run(two).ladder_milliseconds
    assert run(one).ladder == run(two).ladder is not None
    (kept,) = LadderList.load_json(second.get("/v1/ladders")).ladders
    assert (kept.table, kept.measured_on, measured.measured_on) == (measured.table, "mac-a", None)
