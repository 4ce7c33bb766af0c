"""Messages about warm lanes between operator and agent: HTTP/1.1, JSON, under `/v1/lanes`.

A VoiceEndpoint has at most one lane on a Mac. It is named by the endpoint's UID and the generation of its spec, and it
is there for as long as it is renewed. An EndpointLaneSpec is strict, as an AttemptSpec is: an agent that does not know
a field must refuse the lane (RuntimeMismatch) rather than keep another one warm.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, Digest, Name, Size, SpecModel, StatusModel, Uid, open_enum
from voxfleet_api.endpoint_latency import LaneLatency
from voxfleet_api.kinds.endpoint_yield import Yield
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import AttemptFailure, S3Credentials

MAX_SESSIONS_OF_A_LANE = 64
MAX_TURN_SECONDS = 600


class LaneKey(NamedTuple):
    """The identity of an endpoint's lane on a Mac."""

    endpoint_uid: str
    generation: int

    def __str__(self) -> str:
        return f"{self.endpoint_uid}.{self.generation}"


class EndpointRef(SpecModel):
    name: Name
    uid: Uid


class EndpointLaneSpec(SpecModel):
    """What a lane keeps warm. Its digest is part of its identity; lease, credentials and prefixes are not.

    A field that has its default is not sent, so that a new one concerns neither an older agent nor the digest of a lane
    that an older operator has asked for. A default must never change.
    """

    namespace: Annotated[str, Field(min_length=1, max_length=253)]
    endpoint: EndpointRef
    generation: Annotated[int, Field(ge=1)]
    task: Task
    contract: VoiceContractSpec
    contract_digest: Digest
    model: ModelSource
    transcription: Transcription = Transcription()
    synthesis: Synthesis | None = None
    memory_cap: Size
    """Of the lane, for model, audio and sessions together; its pool must allow as much."""
    max_sessions: Annotated[int, Field(ge=1, le=MAX_SESSIONS_OF_A_LANE)]
    max_turn_seconds: Annotated[int, Field(ge=1, le=MAX_TURN_SECONDS)]
    """The longest turn of a session, for which each has room in memory."""
    billing_key: str | None = None
    yield_: Annotated[Yield, Field(alias="yield")] = Yield()
    """How the batches of this Mac give way to the lane's sessions."""

    @property
    def key(self) -> LaneKey:
        return LaneKey(self.endpoint.uid, self.generation)

    def dump(self) -> dict[str, Any]:
        short = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        return {**short, "contract": self.contract.dump()}


class LaneRequest(StatusModel):
    """Body of PUT /v1/lanes/{endpointUID}/{generation}. What is no part of the spec may differ when it is repeated."""

    spec_digest: Digest
    spec: dict[str, object]
    """An EndpointLaneSpec as sent; the agent digests these fields before it parses them strictly."""
    lease_seconds: Annotated[int, Field(ge=1)]
    credentials: S3Credentials | None = None
    uri_prefixes: tuple[Annotated[str, Field(max_length=1024)], ...]
    """What MacAgent.spec.access opens to the endpoint's namespace: bounds the model and the voices' recordings, inside
    the agent's own `allow`."""
    model_digest: Digest | None = None
    """What the endpoint's other lanes have loaded: this one must load the same. None: it is the first."""


class LaneState(StrEnum):
    LOADING = "Loading"  # also while a child that ended is being replaced
    READY = "Ready"  # it worked through a warm-up clip, and takes sessions
    FAILED = "Failed"  # it holds nothing; the same PUT tries again after a while
    DELETING = "Deleting"


class LaneStatus(StatusModel):
    """An endpoint's lane as its agent sees it."""

    endpoint_uid: str
    generation: int
    spec_digest: str
    namespace: str
    endpoint: str
    """Its name."""
    state: Annotated[str, OPEN_VALUE, open_enum(LaneState)]
    lane: str | None = None
    """Pool and slot; None while it holds none."""
    model_digest: str | None = None
    """Of the model that it has loaded."""
    sample_rate_hz: int | None = None
    """Of that model."""
    sessions: int = 0
    """That are open now."""
    failure: AttemptFailure | None = None
    """Why it is not ready: of a Failed lane, and of one whose child ended."""
    latency: LaneLatency | None = None
    """How long its turns took; None: an agent that does not say."""

    @property
    def key(self) -> LaneKey:
        return LaneKey(self.endpoint_uid, self.generation)


class LaneList(StatusModel):
    """Answer to GET /v1/lanes: all lanes of endpoints that this agent has, by their keys."""

    lanes: tuple[LaneStatus, ...] = ()
