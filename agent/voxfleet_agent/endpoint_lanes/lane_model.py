"""Finds what a lane keeps warm: the model, whose digest is verified, and the recording of its voice."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.scratch import AttemptScratch
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.synthesis_files import download_reference
from voxfleet_agent.storage import Storage
from voxfleet_api.endpoint_lanes import EndpointLaneSpec
from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class LaneModel:
    model: ResolvedModel
    spec: LaneSpec


async def find_model(
    spec: EndpointLaneSpec,
    expected_digest: str | None,
    storage: Storage,
    models: ModelResolver,
    scratch: AttemptScratch | None,
) -> LaneModel:
    """`expected_digest`: what the endpoint's other lanes have loaded. `scratch`: where a recording goes; it stays there
    for as long as the lane does, because each new child reads it. None: the spec names none.

    Raises VoxFleetError: MODEL_MISMATCH, and what model and storage raise.
    """
    retrier = Retrier(spec.contract.retries)
    model = await retrier(lambda: models.resolve(spec.model, storage))
    if expected_digest is not None and model.digest != expected_digest:
        raise VoxFleetError(
            FailureClass.MODEL_MISMATCH,
            f"the model on this Mac has {model.digest}, the endpoint's other lanes have {expected_digest}; install the"
            " same files",
        )
    reference = None if spec.synthesis is None else spec.synthesis.reference
    path = None
    if reference is not None and scratch is not None:
        path = await download_reference(reference, spec.contract, storage, scratch, retrier)
    return LaneModel(model, LaneSpec(spec.task, spec.contract, spec.transcription, spec.synthesis, path))
