"""Real agents with pools of both kinds: jobs get lanes of the one, and never of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_api.kinds.contract_input import ContractInput, Conversions, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.machine_messages import MachineFacts, PoolFacts
from voxfleet_api.pools import PoolKind

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=("wav",), sample_rates_hz=(16_000, 22_050), channels=(1,)),
    conversions=Conversions(resample=Resample(to_hz=16_000)),
)
LIVE = {"name": "live", "kind": "Interactive", "lanes": 2, "memoryCap": "1Gi"}
NIGHT = {"name": "night", "kind": "Offline", "lanes": 1, "memoryCap": "2Gi"}
CO_TENANT = {"name": "text-llm", "memory": "64Mi"}


@pytest.fixture
def job(tmp_path: Path) -> JobSpecs:
    """Two clips, one a shard."""
    lines = (CLIPS / "manifest.jsonl").read_text().splitlines()
    clips = [line for line in lines if json.loads(line)["uri"].endswith(".wav")][:2]
    (tmp_path / "input").mkdir()
    (tmp_path / "output").mkdir()
    manifest = tmp_path / "input" / "manifest.jsonl"
    absolute = [{**json.loads(line), "uri": f"file://{CLIPS}/{json.loads(line)['uri']}"} for line in clips]
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in absolute))
    source = JobInput(manifest=ManifestInput(uri=f"file://{manifest}"))
    return JobSpecs(source, f"file://{tmp_path}/output/", CONTRACT, shard_audio_milliseconds=1)


def agent_of(folder: Path, *pools: dict[str, object]) -> AgentProcess:
    allow = [f"file://{CLIPS}/", f"file://{folder}/"]
    return AgentProcess(folder / "mac", allow, pools=list(pools), reserved=[CO_TENANT])


def facts(agent: AgentProcess) -> MachineFacts:
    return MachineFacts.model_validate_json(agent.get("/v1/machine"))


def pools(agent: AgentProcess) -> dict[str, PoolFacts]:
    return {pool.name: pool for pool in facts(agent).pools}


@pytest.fixture
def both(tmp_path: Path) -> Iterator[AgentProcess]:
    with agent_of(tmp_path, LIVE, NIGHT) as agent:  # the interactive pool stands first: order is no preference
        yield agent


def test_a_job_runs_on_the_offline_pool_and_leaves_the_interactive_lane_alone(
    both: AgentProcess, job: JobSpecs
) -> None:
    both.run_job(job)
    assert pools(both)["live"].free_lanes == 2
    assert {signed.row.lane for signed in both.ledger()} == {"night-0"}
    assert facts(both).loaded_models, "the offline lane keeps its model"
    children = [process for process in both.processes()[1:] if "voxfleet_agent.worker" in " ".join(process.cmdline())]
    assert len(children) == 1, "no child was started for the interactive pool"
    told = facts(both)
    kinds = [(pool.name, pool.kind) for pool in told.pools]
    assert kinds == [("live", PoolKind.INTERACTIVE), ("night", PoolKind.OFFLINE)]
    assert told.reserved is not None and [one.name for one in told.reserved] == ["text-llm"]
    assert told.usable_memory_bytes is not None and told.usable_memory_bytes < told.memory_bytes


def test_an_agent_with_interactive_pools_alone_plans_and_takes_no_shard(tmp_path: Path, job: JobSpecs) -> None:
    with agent_of(tmp_path, LIVE) as agent:
        plan = agent.plan(job)
        with pytest.raises(httpx.HTTPStatusError) as refused:
            agent.put(next(job.process(plan)))
        assert refused.value.response.status_code == 429
        assert "this agent has no lane for batches" in refused.value.response.text
        assert pools(agent)["live"].free_lanes == 2
