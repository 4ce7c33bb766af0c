"""Checks whether this agent can keep a lane warm at all: digests, fields, addresses, memory and runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxfleet_agent.attempts.spec_check import disagreement, require_digest, understood
from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.storage import Storage
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, LaneKey, LaneRequest
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import Problem
from voxfleet_api.quantities import quantity_bytes


def check_lane(
    request: LaneRequest,
    key: LaneKey,
    machine: LocalMachine,
    largest_cap_bytes: int | None,
    open_storage: Callable[[None, Sequence[str]], Storage],
) -> EndpointLaneSpec | Problem:
    """Returns the parsed spec, or the problem with it.

    `largest_cap_bytes`: the most memory that a lane of an Interactive pool may take; None: there is no such pool.
    """
    try:
        spec = _parse(request, key)
        _require_lane(spec, machine, largest_cap_bytes)
        storage = open_storage(None, request.uri_prefixes)
        reference = None if spec.synthesis is None else spec.synthesis.reference
        for address in (spec.model.uri, None if reference is None else reference.uri):
            if address is not None:
                storage.check(address)
        return spec
    except VoxFleetError as error:
        return Problem(failure_class=error.failure_class, message=error.message)


def _parse(request: LaneRequest, key: LaneKey) -> EndpointLaneSpec:
    spec = understood(EndpointLaneSpec, request.spec, request.spec_digest)
    require_digest("contractDigest", request.spec.get("contract"), spec.contract_digest)
    if spec.key != key:
        raise disagreement(f"the spec is of lane {spec.key}, the path says {key}")
    if (spec.synthesis is None) is (spec.task is Task.SYNTHESIZE):
        raise disagreement(f"a lane of task {spec.task} carries its own settings, no others")
    return spec


def _require_lane(spec: EndpointLaneSpec, machine: LocalMachine, largest_cap_bytes: int | None) -> None:
    if not machine.runtime_compatible:
        raise VoxFleetError(FailureClass.RUNTIME_MISMATCH, f"{machine.runtime_message}; reinstall voxfleet[agent]")
    if largest_cap_bytes is None:
        raise VoxFleetError(
            FailureClass.RUNTIME_MISMATCH,
            "this agent has no pool of kind Interactive; add one to pools in its file",
        )
    wanted_bytes = quantity_bytes(spec.memory_cap)
    if wanted_bytes > largest_cap_bytes:
        raise VoxFleetError(
            FailureClass.RUNTIME_MISMATCH,
            f"memoryCap is {wanted_bytes >> 20} MiB, and a lane of this Mac's Interactive pools may take at most"
            f" {largest_cap_bytes >> 20} MiB; lower it, or raise memoryCap of the pool in the agent's file",
        )
