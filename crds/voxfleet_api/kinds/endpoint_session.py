"""VoiceEndpoint: the bounds of a session, and how it streams."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Duration, SpecModel, between


class SessionLimits(SpecModel):
    """What one session may take."""

    max_seconds: Annotated[int, Field(ge=1, le=86_400, description="The longest session, in seconds.")] = 3600
    idle_seconds: Annotated[
        int,
        Field(ge=1, le=3600, description="How long a session may be silent on both sides, in seconds."),
    ] = 60
    max_turn_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=600,
            description="The longest turn of speech, in seconds: then it ends by the clock, and earlier where the"
            " contract's longest clip or window is shorter. Each session of a lane has room for 1.2 times as much audio"
            " in memory, which counts to memoryCap, and none on a disk.",
        ),
    ] = 30
    max_per_lane: Annotated[int, Field(ge=1, le=64, description="How many sessions share a lane.")] = 4
    max_frame_bytes: Annotated[
        int, Field(ge=1024, le=16 * 2**20, description="The largest frame of a socket, in bytes.")
    ] = 2**20
    max_upload_bytes: Annotated[
        int, Field(ge=1024, le=2**30, description="The largest uploaded recording, in bytes.")
    ] = 25 * 2**20


class Streaming(SpecModel):
    """How often something is sent while a session streams."""

    interval: Annotated[
        Duration,
        Field(
            description="Length of a chunk of streamed speech; rounded to whole frames of the model's codec.",
            json_schema_extra=between("10ms", "60s"),
        ),
    ] = "2s"
    partial: Annotated[
        Duration,
        Field(
            description="How often an open turn is transcribed anew.",
            json_schema_extra=between("100ms", "60s"),
        ),
    ] = "500ms"


class TurnDetectionType(StrEnum):
    """What ends a turn beside the client and the clock."""

    SERVER_VAD = "ServerVad"
    NONE = "None"


class TurnDetection(SpecModel):
    """When a turn of speech begins and ends, unless a client asks for other values."""

    type: Annotated[
        TurnDetectionType,
        Field(description="ServerVad: speech and silence, as Silero VAD hears them. None: the client."),
    ] = TurnDetectionType.SERVER_VAD
    threshold_percent: Annotated[
        int, Field(ge=1, le=99, description="How sure the detection of speech must be, in percent.")
    ] = 50
    prefix_padding: Annotated[
        Duration,
        Field(
            description="How much audio before speech belongs to it.",
            json_schema_extra=between("10ms", "5s"),
        ),
    ] = "300ms"
    silence: Annotated[
        Duration,
        Field(description="After how much silence a turn ends.", json_schema_extra=between("100ms", "10s")),
    ] = "500ms"
