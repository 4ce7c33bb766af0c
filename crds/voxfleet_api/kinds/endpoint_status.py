"""The status of a VoiceEndpoint: what it was accepted with, and where its lanes are."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import (
    OPEN_VALUE,
    Decimal3,
    Digest,
    Duration,
    Message,
    Name,
    ObservedGeneration,
    StatusModel,
    Timestamp,
    between,
    list_map,
    open_enum,
)
from voxfleet_api.conditions import Conditions
from voxfleet_api.endpoint_latency import LatencyPart
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


class SlowestPart(StatusModel):
    """Where most of the time of turns went that took longer than the target."""

    part: Annotated[str, OPEN_VALUE, open_enum(LatencyPart), Field(description="The part of their time.")]
    mac: Annotated[Name, Field(description="The MacAgent on which it took most.")]
    percent: Annotated[int, Field(ge=0, le=100, description="Its share of the time of those turns, on all Macs.")]


_TIME = between("0s", "1h")


class EndpointSlo(StatusModel):
    """How long the turns of the last `spec.sloWindow` took, on all Macs. Clips of batches are never in it.

    Percentiles are read from histograms; how many turns took longer than the target is exact.
    """

    turns: Annotated[int, Field(ge=0, description="Turns in the window: utterances, uploads and spoken texts.")] = 0
    breaches: Annotated[
        int, Field(ge=0, description="Of these, those that took longer than the contract's `slo.interactiveP95`.")
    ] = 0
    p50: Annotated[
        Duration | None,
        Field(description="Half of the turns took at most so long; absent: no turn.", json_schema_extra=_TIME),
    ] = None
    p95: Annotated[
        Duration | None,
        Field(description="95 of 100 took at most so long; absent: no turn.", json_schema_extra=_TIME),
    ] = None
    p99: Annotated[
        Duration | None,
        Field(description="99 of 100 took at most so long; absent: no turn.", json_schema_extra=_TIME),
    ] = None
    slowest: Annotated[
        SlowestPart | None, Field(description="What made turns slow; absent: none was slower than the target.")
    ] = None


class EndpointUsage(StatusModel):
    """Machine time of the endpoint's lanes: what statements count of its signed rows, recomputed and never incremented.

    Rows that are not settled yet come later, within some two hours.
    """

    machine_seconds: Annotated[Decimal3, Field(description="Time for which it held lanes.")] = "0.000"
    productive_seconds: Annotated[
        Decimal3, Field(description="Seconds in which sessions were open, or had been within the last minute.")
    ] = "0.000"
    overhead_seconds: Annotated[
        Decimal3,
        Field(
            description="Seconds in which a lane was loaded, warm without a session, or cleaned up, and in"
            " which batches stood still for its sessions."
        ),
    ] = "0.000"
    rows: Annotated[int, Field(ge=0, description="Signed rows in the sum.")] = 0
    updated_at: Annotated[
        Timestamp | None,
        Field(
            description="When it was computed: at most once an hour, and beside sessions only with another change, or"
            " once it holds no lane any more."
        ),
    ] = None


class VoiceEndpointStatus(StatusModel):
    """It is written when lanes come, go or fail; what only counts, and SLOMet, once a minute at most. An idle endpoint
    writes nothing.
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
        Field(
            description="Digest of the model's files, as the first warm lane of the current spec found them. All lanes"
            " must have it, until none of them is warm or out of contact."
        ),
    ] = None
    lanes: Annotated[LaneCounts | None, Field(description="How many lanes there are.")] = None
    macs: Annotated[
        tuple[EndpointLane, ...],
        Field(max_length=STATUS_MACS, json_schema_extra=list_map("mac"), description="Its lanes, one a Mac."),
    ] = ()
    pending_reason: Annotated[Message | None, Field(description="Why the next lane has no Mac.")] = None
    slo: Annotated[EndpointSlo | None, Field(description="How long turns took lately; absent: there was none yet.")] = (
        None
    )
    usage: Annotated[EndpointUsage | None, Field(description="Machine time that statements count so far.")] = None
