"""The status of a VoiceEndpoint: what it was accepted with, and where its lanes are."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import (
    OPEN_VALUE,
    Decimal3,
    Digest,
    Message,
    Name,
    ObservedGeneration,
    StatusModel,
    Timestamp,
    list_map,
    open_enum,
)
from voxfleet_api.conditions import Conditions
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_shard import MachineIdentity
from voxfleet_api.kinds.job_status import AcceptedContract

MAX_LANES = 32
"""The most lanes of an endpoint."""
STATUS_MACS = 2 * MAX_LANES
"""The most Macs that a status names: those with a lane, those that lanes leave, and those that failed lately."""


class EndpointLaneState(StrEnum):
    """What becomes of a lane on a Mac."""

    LOADING = "Loading"  # assigned; its agent loads the model, or is to be told
    WARM = "Warm"
    UNREACHABLE = "Unreachable"  # its Mac is out of contact, so that nobody knows
    FAILED = "Failed"  # it is taken away; the Mac is not tried again before `retryTime`
    LEAVING = "Leaving"  # it is not wanted there any more


class EndpointLane(StatusModel):
    """A lane on a Mac. It is written here before the Mac is called."""

    mac: Annotated[Name, Field(description="The MacAgent.")]
    machine: Annotated[MachineIdentity | None, Field(description="The machine that the MacAgent was then.")] = None
    generation: Annotated[
        int,
        Field(ge=1, description="Number of the lane, its fencing token: each one that is assigned has a higher one."),
    ]
    spec_digest: Annotated[
        Digest, Field(description="Digest of what the lane is told but for its number: model, contract, settings.")
    ]
    state: Annotated[str, OPEN_VALUE, open_enum(EndpointLaneState), Field(description="What becomes of it.")]
    since: Annotated[Timestamp, Field(description="When it came to be so.")]
    failure_class: Annotated[
        str | None,
        OPEN_VALUE,
        open_enum(FailureClass),
        Field(alias="class", description="Failure class of the last failure there."),
    ] = None
    message: Annotated[Message, Field(description="More about the failure.")] = ""
    failures: Annotated[int, Field(description="How often it failed there in a row.")] = 0
    retry_time: Annotated[
        Timestamp | None, Field(description="The Mac is not tried again before; only of a failed lane.")
    ] = None


class EndpointContract(AcceptedContract):
    """The contract that lanes hold. It is copied when a generation of the spec is accepted."""

    generation: Annotated[int, Field(ge=1, description="metadata.generation that was accepted with it.")]


class LaneCounts(StatusModel):
    """How many lanes there are."""

    wanted: Annotated[int, Field(description="Wanted now: from lanes.min to lanes.max; 0: it is suspended or closed.")]
    warm: Annotated[int, Field(description="With the model in memory, ready for a session.")] = 0
    busy: Annotated[int, Field(description="Warm ones with a session.")] = 0


class EndpointUsage(StatusModel):
    """Machine time of the endpoint's lanes: what statements count of its signed rows, recomputed and never incremented.

    Rows that are not settled yet come later, within some two hours.
    """

    machine_seconds: Annotated[Decimal3, Field(description="Time for which it held lanes.")] = "0.000"
    productive_seconds: Annotated[
        Decimal3, Field(description="Seconds in which sessions were open, or had been within the last minute.")
    ] = "0.000"
    overhead_seconds: Annotated[
        Decimal3, Field(description="Seconds in which a lane was loaded, warm without a session, or cleaned up.")
    ] = "0.000"
    rows: Annotated[int, Field(ge=0, description="Signed rows in the sum.")] = 0
    updated_at: Annotated[Timestamp | None, Field(description="When it was computed; at most once an hour.")] = None


class VoiceEndpointStatus(StatusModel):
    """It is written when lanes come, go or fail; what only counts is written once a minute at most, and usage once an
    hour.
    """

    observed_generation: ObservedGeneration = -1
    conditions: Conditions = ()
    url: Annotated[
        str | None,
        Field(
            max_length=512,
            description="Where clients call it: the base of `/v1/...`. Absent: the operator knows of no gateway.",
        ),
    ] = None
    contract: Annotated[EndpointContract | None, Field(description="The contract as accepted.")] = None
    lane_spec_digest: Annotated[
        Digest | None,
        Field(
            description="Digest of what lanes are told now. Those with another one are loaded anew, one after the"
            " other; an edit that changes nothing for them, such as of lanes.max, loads none."
        ),
    ] = None
    last_generation: Annotated[int, Field(ge=0, description="Number of the lane that was assigned last.")] = 0
    model_digest: Annotated[
        Digest | None,
        Field(description="Digest of the model's files, as the first warm lane found them; all lanes must have it."),
    ] = None
    lanes: Annotated[LaneCounts | None, Field(description="How many lanes there are.")] = None
    macs: Annotated[
        tuple[EndpointLane, ...],
        Field(max_length=STATUS_MACS, json_schema_extra=list_map("mac"), description="Its lanes, one a Mac."),
    ] = ()
    pending_reason: Annotated[Message | None, Field(description="Why the next lane has no Mac.")] = None
    usage: Annotated[EndpointUsage | None, Field(description="Machine time that statements count so far.")] = None
