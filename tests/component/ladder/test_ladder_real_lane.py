"""The built-in model's ladder on a real lane, from measuring to the picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.rig.agent_command import invoke
from tests.unit.agent.ladder.paper_lane import fetching

from voxfleet_agent.engine.compute_dtype import FLOAT32
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Batching, Ladder
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ladder_table import LadderTable

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
CAP_BYTES = 4 * 2**30
VERSIONS = {"mlx": "1", "mlx-audio": "2", "mlx-audio-io": "3"}


def make_spec(largest: int) -> LaneSpec:
    contract = VoiceContractSpec(
        input=ContractInput(
            containers=tuple(Container), sample_rates_hz=(16_000, 22_050, 44_100, 48_000), channels=(1, 2)
        ),
        conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
        batching=Batching(ladder=Ladder(to=largest)),
    )
    return LaneSpec(task=Task.TRANSCRIBE, contract=contract, transcription=Transcription())


def good_clips(count: int) -> list[ClipTask]:
    expected = map(json.loads, (CLIPS / "expected.jsonl").read_text().splitlines())
    good = [row["id"] for row in expected if "text" in row]
    uris = {row["id"]: row["uri"] for row in map(json.loads, (CLIPS / "manifest.jsonl").read_text().splitlines())}
    paths = sorted((CLIPS / uris[name] for name in good), key=lambda path: path.stat().st_size, reverse=True)
    return [ClipTask(index=number, path=path) for number, path in enumerate(paths[:count])]


@pytest.fixture
async def model(tmp_path: Path) -> ResolvedModel:
    return await ModelStore(tmp_path / "models", 2**30).resolve(
        ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)), Storage((), None)
    )


async def test_the_default_models_ladder_is_measured_stored_and_shown(model: ResolvedModel, tmp_path: Path) -> None:
    lane = ProcessLane("offline-0", tmp_path / "lane")
    book = MacLadderBook(tmp_path / "state" / "ladders", "paper & pencil", VERSIONS, CAP_BYTES, FLOAT32)
    try:
        table = await book.table(lane, model, make_spec(3), fetching(good_clips(3)))
        assert lane.loaded_digest is None
    finally:
        await lane.kill()
    assert table is not None
    assert [tier.batch_size for tier in table.tiers] == [1, 2, 3]
    assert table.memory_knee == 3
    assert table.chosen in (1, 2, 3)
    assert table.sample_rate_hz == 16_000
    assert table.parameters is not None and 900_000 < table.parameters < 1_100_000
    for tier in table.tiers:
        assert 50 * 2**20 < tier.peak_rss_bytes < CAP_BYTES
        assert tier.audio_milliseconds > 1000
        assert tier.infer_milliseconds > 0
        assert tier.clip_p95_milliseconds >= tier.clip_p50_milliseconds > 0
        assert tier.scratch_bytes > 0
    assert book.stored(model, digest_of(make_spec(3).contract)) == table
    show_and_draw(table, tmp_path)


def show_and_draw(table: LadderTable, folder: Path) -> None:
    config = folder / "agent.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "stateDir": str(folder / "state"),
                "tokenFile": str(folder / "token"),
                "ledgerKeyFile": str(folder / "ledger.pem"),
                "scratch": {"path": str(folder / "scratch"), "quota": "1Gi"},
            }
        )
    )
    picture = folder / "ladders.svg"
    shown = invoke("ladder", "-c", config, "--plot", picture)
    assert "paper & pencil" in shown.stdout, shown.stderr
    assert f"{table.chosen} is used" in shown.stdout
    drawn = picture.read_text()
    assert drawn.startswith("<?xml") and drawn.rstrip().endswith("</svg>")
    (described,) = json.loads(invoke("ladder", "-c", config, "-o", "json").stdout)
    assert described["chosen"] == table.chosen
    assert len(described["tiers"]) == 3


@pytest.mark.soak
async def test_repeated_runs_agree_within_one_step(model: ResolvedModel, tmp_path: Path) -> None:
    knees = []
    for run in range(3):
        lane = ProcessLane("offline-0", tmp_path / f"lane-{run}")
        try:
            book = MacLadderBook(tmp_path / f"ladders-{run}", "paper", VERSIONS, CAP_BYTES, FLOAT32)
            table = await book.table(lane, model, make_spec(8), fetching(good_clips(8)))
        finally:
            await lane.kill()
        assert table is not None
        knees.append(table.throughput_knee)
    assert max(knees) - min(knees) <= 1
