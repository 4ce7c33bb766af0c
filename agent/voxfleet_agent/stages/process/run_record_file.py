"""run.json: where and how an attempt ran. It is uploaded before the commit that names it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from voxfleet_agent.lanes.lane_types import Lane, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.job_files import JobFiles, file_ref, plan_mismatch
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_api.digest import canonical_json
from voxfleet_api.failures import FailureClass
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.results import FileRef
from voxfleet_api.run_record import LaneReadings, RunRecord


def make_run_record(
    ctx: StageContext,
    lane: Lane,
    model: ResolvedModel,
    loaded: LoadedModel,
    ladder: LadderTable | None,
    ladder_milliseconds: int,
    retries: Mapping[FailureClass, int],
) -> RunRecord:
    return RunRecord(
        shard_uid=ctx.spec.shard_uid,
        attempt=ctx.spec.attempt,
        chip=ctx.provenance.chip,
        memory_bytes=ctx.provenance.memory_bytes,
        os=ctx.provenance.os,
        versions=ctx.provenance.versions,
        model=None if ctx.spec.process is None else ctx.spec.process.model,
        model_digest=model.digest,
        model_revision=model.revision,
        model_files=dict(model.files),
        sample_rate_hz=loaded.sample_rate_hz,
        scratch_path=str(ctx.scratch.path.parent),
        environment=dict(loaded.environment),
        blas=loaded.blas,
        dtype=loaded.dtype,
        seed=loaded.seed,
        retries={failure_class.value: count for failure_class, count in sorted(retries.items()) if count},
        ladder=None if ladder is None else ladder.model_copy(update={"measured_on": None}),
        ladder_milliseconds=ladder_milliseconds,
        readings=told_readings(lane.readings(), one_machine=ctx.one_machine),
    )


def told_readings(readings: LaneReadings, *, one_machine: bool) -> LaneReadings:
    """Without what an agent of the version before would refuse, unless no other agent reads the file."""
    return readings if one_machine else readings.model_copy(update={"ring_underruns_by_cause": None})


async def find_run_record(files: JobFiles, name: str) -> FileRef | None:
    """A run.json that was uploaded before; it is never replaced. None when there is none.

    Raises VoxFleetError(PLAN_MISMATCH) when it is not a run record.
    """
    if not await files.exists(name):
        return None
    content = await files.read(name)
    try:
        RunRecord.model_validate_json(content)
    except ValidationError as error:
        raise plan_mismatch(f"{name} is not a record that this agent understands") from error
    return file_ref(name, content)


async def upload_run_record(files: JobFiles, name: str, record: RunRecord) -> FileRef:
    content = canonical_json(record.dump())
    await files.write_once(name, content)
    return file_ref(name, content)
