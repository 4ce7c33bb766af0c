"""Interactive lanes: the bodies of PUT, GET and DELETE /v1/lanes/{uid}/{generation}."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, Digest, SpecModel, StatusModel, Uid, open_enum
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import AttemptFailure, S3Credentials


class LaneKey(NamedTuple):
    """The identity of a lane on its Mac."""

    uid: str
    generation: int

    def __str__(self) -> str:
        return f"{self.uid}.{self.generation}"


class LaneSpec(SpecModel):
    """What a lane holds. Its digest is part of its identity."""

    namespace: Annotated[str, Field(min_length=1, max_length=253)]
    endpoint: Annotated[str, Field(min_length=1, max_length=253)]
    uid: Uid
    task: Task
    model: ModelSource
    contract: VoiceContractSpec
    contract_digest: Digest
    transcription: Transcription = Transcription()
    synthesis: Synthesis | None = None
    memory_cap_bytes: Annotated[int, Field(ge=1)]
    max_sessions: Annotated[int, Field(ge=1)]
    max_turn_seconds: Annotated[int, Field(ge=1)]
    billing_key: str | None = None

    def dump(self) -> dict[str, Any]:
        short = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        return {**short, "contract": self.contract.dump()}


class LaneRequest(StatusModel):
    spec_digest: Digest
    spec: dict[str, object]
    lease_seconds: Annotated[int, Field(ge=1)]
    credentials: S3Credentials | None = None
    uri_prefixes: tuple[Annotated[str, Field(max_length=1024)], ...] | None = None


class LaneState(StrEnum):
    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"
    DELETING = "Deleting"


class LaneStatus(StatusModel):
    uid: str
    generation: int
    spec_digest: str
    state: Annotated[str, OPEN_VALUE, open_enum(LaneState)]
    failure: AttemptFailure | None = None
    model_digest: str | None = None
    sessions: int = 0
