"""Messages of a session between gateway and agent, over a WebSocket at `/v1/lanes/{endpointUID}/{number}/sessions`.

The caller's first message opens the session; the agent answers with Opened, or with Ended. Text messages are the JSON
below, told apart by `kind`. Binary messages are audio: PCM16 (little-endian samples of one channel, whole ones), or
the bytes of a file where OpenUpload opened the session. The last text message of the agent is Ended, with which the
session's place is free; a socket that closes without one lost its session. The caller closes the socket then, after a
last TurnMeasured: of a text its parts and stalls are known only now. The agent closes it itself CLOSING_SECONDS after
the session ended and all its speech was counted as heard. A caller that closes the socket earlier cancels.

Nobody sends ahead without a bound. The caller has at most `Opened.window_bytes` of audio on the way that no AudioTaken
has counted, and the agent at most `OpenSpeaking.window_bytes` that no AudioHeard has counted. Both counts are totals
since the session was opened.

Requests are strict, as specs are: an agent that does not know a field must refuse the session. Answers are envelopes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from voxfleet_api.base import OPEN_VALUE, SpecModel, StatusModel, open_enum
from voxfleet_api.endpoint_lanes import MAX_TURN_SECONDS, LaneKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
from voxfleet_api.rows import TimedText

SUBPROTOCOL = "voxfleet.session.v1"
SAMPLE_BYTES = 2
MAX_CONTROL_BYTES = 2**20
"""Of a text message, either way."""
MAX_AUDIO_MESSAGE_BYTES = 2**16
"""Of a binary message, either way: others' messages wait no longer than for one of them."""

CLOSING_SECONDS = 5.0
"""How long an agent waits for the caller to close the socket of a session that ended."""

Milliseconds = Annotated[int, Field(ge=0, le=2**40)]
SessionLanguage = Annotated[str, Field(min_length=1, max_length=64)]


def sessions_path(key: LaneKey) -> str:
    return f"/v1/lanes/{key.endpoint_uid}/{key.generation}/sessions"


class VoiceActivity(SpecModel):
    """Where a turn begins and ends, by Silero VAD."""

    threshold_percent: Annotated[int, Field(ge=1, le=99)]
    prefix_padding_milliseconds: Annotated[int, Field(ge=0, le=5_000)]
    silence_milliseconds: Annotated[int, Field(ge=100, le=10_000)]


# What the caller sends


class OpenHearing(SpecModel):
    """Audio comes as PCM16, and turns of it are told as text."""

    kind: Literal["OpenHearing"] = "OpenHearing"
    sample_rate_hz: Annotated[int, Field(ge=4_000, le=384_000)]
    voice_activity: VoiceActivity | None = None
    """None: a turn ends by CommitTurn, EndAudio or the longest turn alone."""
    partial_milliseconds: Annotated[int, Field(ge=100, le=60_000)] | None = None
    """How often an open turn is heard again by a model that does not stream; None: only at its end."""
    max_turn_milliseconds: Annotated[int, Field(ge=1_000, le=MAX_TURN_SECONDS * 1000)]
    language: SessionLanguage | None = None
    """A code or a name; None: as the endpoint says."""


class OpenUpload(SpecModel):
    """A recording comes as the bytes of its file. It is judged and cut as a clip of a batch; each piece is a turn."""

    kind: Literal["OpenUpload"] = "OpenUpload"
    max_bytes: Annotated[int, Field(ge=1, le=2**30)]
    """Of the file; a longer one ends the session as InvalidInput."""
    extension: Annotated[str, Field(max_length=16, pattern=r"^[a-z0-9]*$")] = ""
    """Of the file's name, in lower case; only a hint for messages, for the contract looks at the bytes."""
    language: SessionLanguage | None = None


class OpenSpeaking(SpecModel):
    """A text is spoken."""

    kind: Literal["OpenSpeaking"] = "OpenSpeaking"
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
    voice: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    instruction: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    language: SessionLanguage | None = None
    speed_percent: Annotated[int, Field(ge=25, le=400)] | None = None
    interval_milliseconds: Annotated[int, Field(ge=10, le=60_000)] | None = None
    """Length of a chunk; None for this and the others: as the endpoint says."""
    window_bytes: Annotated[int, Field(ge=4_096, le=2**24)]
    """How much audio may be on its way that no AudioHeard has counted."""


class CommitTurn(SpecModel):
    """The open turn ends here."""

    kind: Literal["CommitTurn"] = "CommitTurn"


class ClearTurn(SpecModel):
    """The open turn never was."""

    kind: Literal["ClearTurn"] = "ClearTurn"


class EndAudio(SpecModel):
    """No more audio comes; the open turn is committed, and its text told, before the session ends."""

    kind: Literal["EndAudio"] = "EndAudio"


class AudioHeard(SpecModel):
    """The listener took so much of the audio."""

    kind: Literal["AudioHeard"] = "AudioHeard"
    total_bytes: Annotated[int, Field(ge=0, le=2**53)]


class LatencyKind(StrEnum):
    FINAL_TEXT = "FinalText"  # from the last voiced sample's arrival at the gateway to the final text written
    FIRST_TEXT = "FirstText"  # of a turn: from its first sample's arrival at the gateway to its first delta written
    UPLOADED_TEXT = "UploadedText"  # from an upload's last byte to the first line written
    FIRST_AUDIO = "FirstAudio"  # from the request to the first byte of audio written


class TurnMeasured(SpecModel):
    """What the caller measured of a turn or a text, for the lane's latencies. Parts need not add up to the total."""

    kind: Literal["TurnMeasured"] = "TurnMeasured"
    latency: LatencyKind
    total_milliseconds: Milliseconds
    gateway_milliseconds: Milliseconds
    tunnel_milliseconds: Milliseconds
    wait_milliseconds: Milliseconds
    """For the end of the turn to be certain, and for the model."""
    infer_milliseconds: Milliseconds
    stalls: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Chunks of speech that came later than playback needed them."""


OpenRequest = Annotated[OpenHearing | OpenUpload | OpenSpeaking, Field(discriminator="kind")]
SessionRequest = Annotated[
    OpenHearing | OpenUpload | OpenSpeaking | CommitTurn | ClearTurn | EndAudio | AudioHeard | TurnMeasured,
    Field(discriminator="kind"),
]

# What the agent sends


class Opened(StatusModel):
    kind: Literal["Opened"] = "Opened"
    sample_rate_hz: int
    """Of the model, and so of the audio that it speaks."""
    window_bytes: int = 0
    """How much audio may be on its way that no AudioTaken has counted; 0 for a session that speaks."""


class AudioTaken(StatusModel):
    """The lane took so much of the audio, which has left its backlog."""

    kind: Literal["AudioTaken"] = "AudioTaken"
    total_bytes: int


class SpeechStarted(StatusModel):
    kind: Literal["SpeechStarted"] = "SpeechStarted"
    turn: int
    """Numbered from 0 in each session."""
    audio_milliseconds: int
    """From the first sample of the session, prefix padding included."""


class SpeechStopped(StatusModel):
    kind: Literal["SpeechStopped"] = "SpeechStopped"
    turn: int
    audio_milliseconds: int
    """The end of the last audible speech, from the first sample of the session."""


class TurnCommitted(StatusModel):
    kind: Literal["TurnCommitted"] = "TurnCommitted"
    turn: int


class TextDelta(StatusModel):
    """More text of a turn. Its deltas, one after the other, are the text of its TurnDone."""

    kind: Literal["TextDelta"] = "TextDelta"
    turn: int
    text: str


class TurnDone(StatusModel):
    kind: Literal["TurnDone"] = "TurnDone"
    turn: int
    text: str = ""
    failure_class: Annotated[str, OPEN_VALUE, open_enum(FailureClass)] | None = None
    """Why the turn has no final text; the session goes on."""
    reason: str = ""
    start_milliseconds: int = 0
    end_milliseconds: int = 0
    """From the first sample of the session, or of the file."""
    voiced_end_milliseconds: int | None = None
    """The end of its last audible speech; None: not known."""
    language: str | None = None
    segments: tuple[TimedText, ...] | None = None
    """Of a file's piece, where the model tells times; from the first sample of the file."""
    revisions: int = 0
    """How often a pass contradicted text of the turn that had been sent, which stands."""
    wait_milliseconds: int = 0
    """From the turn's end until the model took it up."""
    infer_milliseconds: int = 0
    """Of the final pass."""


class Ended(StatusModel):
    """The end of the session; without a class, in order."""

    kind: Literal["Ended"] = "Ended"
    failure_class: Annotated[str, OPEN_VALUE, open_enum(FailureClass)] | None = None
    reason: str = ""
    retry_after_seconds: float | None = None
    """Of a lane that is full."""
    audio_milliseconds: int | None = None
    """Of a file, or of all that was spoken."""
    wait_milliseconds: int = 0
    """Of a text: until the model took it up."""
    infer_milliseconds: int = 0
    """Of a text: for its first chunk."""


SessionAnswer = Annotated[
    Opened | AudioTaken | SpeechStarted | SpeechStopped | TurnCommitted | TextDelta | TurnDone | Ended,
    Field(discriminator="kind"),
]

open_request: TypeAdapter[OpenHearing | OpenUpload | OpenSpeaking] = TypeAdapter(OpenRequest)
session_request: TypeAdapter[
    OpenHearing | OpenUpload | OpenSpeaking | CommitTurn | ClearTurn | EndAudio | AudioHeard | TurnMeasured
] = TypeAdapter(SessionRequest)
session_answer: TypeAdapter[
    Opened | AudioTaken | SpeechStarted | SpeechStopped | TurnCommitted | TextDelta | TurnDone | Ended
] = TypeAdapter(SessionAnswer)
