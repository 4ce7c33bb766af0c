"""A real lane with the built-in model, and its verdicts on clips, without a stage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

MEMORY_CAP_BYTES = 2 * 2**30


async def default_model(folder: Path) -> ResolvedModel:
    return await ModelStore(folder / "models", 2**30).resolve(
        ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)), Storage([])
    )


def transcribe_spec(contract: VoiceContractSpec) -> LaneSpec:
    return LaneSpec(task=Task.TRANSCRIBE, contract=contract, transcription=Transcription())


@asynccontextmanager
async def open_lane(folder: Path, contract: VoiceContractSpec, batch_size: int = 4) -> AsyncIterator[ProcessLane]:
    """A lane that has loaded the built-in model."""
    lane = ProcessLane("offline-0", folder / "lane", memory_cap_bytes=MEMORY_CAP_BYTES, batch_size=batch_size)
    try:
        await lane.load(await default_model(folder), transcribe_spec(contract))
        yield lane
    finally:
        await lane.kill()


async def verdicts(lane: ProcessLane, clips: Sequence[Path], batch_size: int) -> dict[int, ClipVerdict]:
    """By position of the clip; fails when a clip has no verdict or two."""
    lane.batch_size = batch_size

    async def batches() -> AsyncIterator[Sequence[ClipTask]]:
        for start in range(0, len(clips), batch_size):
            batch = clips[start : start + batch_size]
            yield [ClipTask(index=start + position, path=path) for position, path in enumerate(batch)]

    found: dict[int, ClipVerdict] = {}
    async for verdict in lane.work(batches()):
        assert verdict.index not in found, f"clip {verdict.index} has two verdicts"
        found[verdict.index] = verdict
    assert sorted(found) == list(range(len(clips)))
    return found
