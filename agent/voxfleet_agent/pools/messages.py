"""What a lane and its child say to each other: JSON with a length in front.

The parent asks Load or Transcribe. Load is answered by Loaded or Refused; Transcribe by a Verdict, with a Decoded in
front when the clip could be decoded, or by Refused when the fault is not the clip's.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import Attestation

MAX_MESSAGE_BYTES = 16 * 2**20
LENGTH = struct.Struct(">I")


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Load(Message):
    kind: Literal["Load"] = "Load"
    folder: Path
    digest: str


class Transcribe(Message):
    kind: Literal["Transcribe"] = "Transcribe"
    path: Path
    contract: VoiceContractSpec


class Loaded(Message):
    kind: Literal["Loaded"] = "Loaded"
    sample_rate_hz: int


class Decoded(Message):
    """The clip is decoded; its length tells how long inference may take."""

    kind: Literal["Decoded"] = "Decoded"
    audio_milliseconds: int


class Verdict(Message):
    kind: Literal["Verdict"] = "Verdict"
    text: str | None = None
    failure_class: FailureClass | None = None
    reason: str = ""
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    decode_milliseconds: int = 0
    infer_milliseconds: int = 0


class Refused(Message):
    """What another clip would meet too."""

    kind: Literal["Refused"] = "Refused"
    failure_class: FailureClass
    message: str


Request = Annotated[Load | Transcribe, Field(discriminator="kind")]
Answer = Annotated[Loaded | Decoded | Verdict | Refused, Field(discriminator="kind")]
REQUEST: TypeAdapter[Load | Transcribe] = TypeAdapter(Request)
ANSWER: TypeAdapter[Loaded | Decoded | Verdict | Refused] = TypeAdapter(Answer)


def frame(message: Message) -> bytes:
    """Raises ValueError for a message beyond MAX_MESSAGE_BYTES."""
    body = message.model_dump_json().encode()
    return LENGTH.pack(checked_length(len(body))) + body


def checked_length(length_bytes: int) -> int:
    if length_bytes > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length_bytes} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    return length_bytes
