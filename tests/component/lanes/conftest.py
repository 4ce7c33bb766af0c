"""A lane with the built-in model, started once a module, and lanes whose model misbehaves."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import STAND_IN, Examples, MakeLane, examples, transcribe_spec

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource


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
