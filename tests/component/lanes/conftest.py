"""A lane with the built-in model, started once a module, and lanes whose model misbehaves."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import STAND_IN, Examples, MakeLane, examples, transcribe_spec
from tests.component.lanes.session_rig import Client, start_child
from tests.component.lanes.voice_rig import Samples, generated_alone

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_models.families import make_model


@pytest_asyncio.fixture(loop_scope="module")
async def stand_in(tmp_path: Path) -> AsyncIterator[MakeLane]:
    """Creates lanes whose model treats clip n as the argument says; they end with the test."""
    lanes: list[ProcessLane] = []

    def make(behaviours: dict[str, str] | None = None, **settings: object) -> ProcessLane:
        command = (sys.executable, str(STAND_IN), json.dumps(behaviours or {}))
        folder = tmp_path / f"lane-{len(lanes)}"
        lanes.append(ProcessLane(folder.name, folder, worker=command, **settings))  # type: ignore[arg-type] # the caller's
        return lanes[-1]

    yield make
    for lane in lanes:
        await lane.kill()


@pytest.fixture
def stand_in_model(tmp_path: Path) -> ResolvedModel:
    return ResolvedModel(tmp_path, "sha256:" + "1" * 64)


@pytest.fixture(scope="session")
def example_clips() -> Examples:
    return examples()


@pytest.fixture(scope="session")
def voice_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("pocket_tts", tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="session")
def generated(voice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Samples]:
    """By text: the samples of the model that speaks, by itself."""
    return generated_alone(voice_folder, tmp_path_factory.mktemp("generated"))


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A child without a model, which all tests share that have it hear."""
    child = await start_child(tmp_path_factory.mktemp("hearing"))
    yield Client(child)
    await child.end()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def model(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    models = ModelStore(tmp_path_factory.mktemp("models"), 2**30)
    return await models.resolve(ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)), Storage((), None))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lane(tmp_path_factory: pytest.TempPathFactory, model: ResolvedModel) -> AsyncIterator[ProcessLane]:
    lane = ProcessLane("offline-0", tmp_path_factory.mktemp("lane"))
    await lane.load(model, transcribe_spec())
    yield lane
    await lane.kill()
