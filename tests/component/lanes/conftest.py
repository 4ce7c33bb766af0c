"""The example clips, and a lane with the default model, started once per module."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from voxfleet_agent.engine.models import LocalModels
from voxfleet_agent.pools.lane import Lane
from voxfleet_agent.stages.stage import ClipTask, ResolvedModel
from voxfleet_api.kinds.audio_batch_job import ModelSource
from voxfleet_api.kinds.voice_contract import (
    Container,
    ContractInput,
    Conversions,
    Downmix,
    Resample,
    VoiceContractSpec,
)

CLIPS = Path(__file__).parents[3] / "examples" / "clips"


def contract(conversions: Conversions | None = None, **changes: object) -> VoiceContractSpec:
    """Accepts the good example clips and declares what they need."""
    fields: dict[str, object] = {
        "containers": tuple(Container),
        "sample_rates_hz": (16_000, 22_050, 44_100, 48_000),
        "channels": (1, 2),
        **changes,
    }
    declared = Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()) if conversions is None else conversions
    return VoiceContractSpec(input=ContractInput.model_validate(fields), conversions=declared)


def examples() -> dict[str, tuple[Path, str | None, str | None]]:
    """By id: the clip, the words in it, the failure class expected of it."""
    expected = {row["id"]: row for row in map(json.loads, (CLIPS / "expected.jsonl").read_text().splitlines())}
    manifest = map(json.loads, (CLIPS / "manifest.jsonl").read_text().splitlines())
    return {
        row["id"]: (CLIPS / row["uri"], expected[row["id"]].get("text"), expected[row["id"]].get("class"))
        for row in manifest
    }


@pytest.fixture(scope="session")
def make_contract() -> Callable[..., VoiceContractSpec]:
    return contract


@pytest.fixture(scope="session")
def example_clips() -> dict[str, tuple[Path, str | None, str | None]]:
    return examples()


@pytest.fixture(scope="session")
def task() -> Callable[[Path], ClipTask]:
    return lambda path: ClipTask(index=7, path=path, contract=contract())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def model() -> ResolvedModel:
    return await LocalModels().resolve(ModelSource(path="default"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lane(tmp_path_factory: pytest.TempPathFactory, model: ResolvedModel) -> AsyncIterator[Lane]:
    lane = Lane("offline-0", tmp_path_factory.mktemp("lane"))
    await lane.load(model)
    yield lane
    await lane.kill()
