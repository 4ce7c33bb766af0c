"""The channel between a lane and its child: each message is JSON, preceded by its length in four bytes."""

from __future__ import annotations

import struct
from typing import Annotated

from pydantic import Field, TypeAdapter

from voxfleet_agent.lane_protocol.messages import (
    BatchDone,
    BatchMessage,
    DecodingClip,
    HeardAudio,
    InferringClips,
    Load,
    Loaded,
    Message,
    VerdictMessage,
    WorkerRefusal,
)
from voxfleet_agent.lane_protocol.session_messages import SessionAnswer, SessionRequest
from voxfleet_api.failures import FailureClass

MAX_MESSAGE_BYTES = 16 * 2**20
LENGTH = struct.Struct(">I")

LaneRequest = Load | BatchMessage | SessionRequest
BatchAnswer = Loaded | DecodingClip | InferringClips | HeardAudio | VerdictMessage | BatchDone | WorkerRefusal
WorkerAnswer = BatchAnswer | SessionAnswer
REQUEST: TypeAdapter[LaneRequest] = TypeAdapter(Annotated[LaneRequest, Field(discriminator="kind")])
ANSWER: TypeAdapter[WorkerAnswer] = TypeAdapter(Annotated[WorkerAnswer, Field(discriminator="kind")])


class MessageTooLargeError(ValueError):
    """A message is longer than MAX_MESSAGE_BYTES."""


def frame(message: Message) -> bytes:
    """Raises MessageTooLargeError for a message beyond MAX_MESSAGE_BYTES."""
    body = message.model_dump_json().encode()
    return LENGTH.pack(checked_length(len(body))) + body


def answer_frame(answer: Message) -> bytes:
    """As `frame`; but a verdict that is too large becomes one that says so, because its clip is at fault."""
    try:
        return frame(answer)
    except MessageTooLargeError:
        if not isinstance(answer, VerdictMessage):
            raise
        return frame(
            answer.model_copy(
                update={
                    "failure_class": FailureClass.INFERENCE_ERROR,
                    "reason": f"the transcript takes more than {MAX_MESSAGE_BYTES >> 20} MiB, as when a model repeats"
                    " itself; lower transcription.maxTokens, or declare conversions.windows",
                    "text": None,
                    "segments": None,
                    "words": None,
                }
            )
        )


def can_be_buffered(message: Message) -> bool:
    """Whether the message may stay in the buffer, at the latest until the model is announced to start on other clips.

    Results may, for each write wakes the parent. Announcements of clips, signs of life while the model works and
    answers to requests may not.
    """
    match message:
        case VerdictMessage():
            return True
        case HeardAudio():
            return message.with_results
        case InferringClips():
            return not message.indexes
        case _:
            return False


def checked_length(length_bytes: int) -> int:
    if length_bytes > MAX_MESSAGE_BYTES:
        raise MessageTooLargeError(f"a message of {length_bytes} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    return length_bytes
