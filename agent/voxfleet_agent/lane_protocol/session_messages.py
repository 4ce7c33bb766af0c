"""The messages of sessions: what a lane and its child send each other while people speak and listen.

A lane that has loaded its model (messages.Load) takes sessions or batches. The parent opens a session under a number
of its own choice, feeds it, and ends or cancels it; the child answers with what it hears or speaks, and with exactly
one SessionEnded for each session that was opened, after which the number means nothing: what was on its way is dropped
on both sides. A session that fails ends alone, with a failure class. The parent never waits for the child here: what
it sends is bounded by the session's own limits, and the child takes messages between two steps of inference.

Audio is PCM: 16-bit little-endian samples of one channel, always whole ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis


class SessionMessage(Message):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    session: int


class TurnDetection(Message):
    """Where a turn begins and ends, by Silero VAD."""

    threshold_percent: Annotated[int, Field(ge=1, le=99)]
    """The probability from which on audio is speech."""
    prefix_padding_milliseconds: int
    """Audio before the onset that belongs to the turn."""
    silence_milliseconds: int
    """Silence that ends a turn."""


class OpenHearing(SessionMessage):
    kind: Literal["OpenHearing"] = "OpenHearing"
    sample_rate_hz: int
    """Of the audio that will come."""
    turn_detection: TurnDetection | None = None
    """None: a turn ends with CommitTurn or EndSession alone."""
    partial_milliseconds: int
    """How often an open turn is decoded again by a model that does not stream."""
    max_turn_milliseconds: int
    """A turn that reaches it ends by itself; earlier where the contract or the lane allows no turn so long."""


class HearAudio(SessionMessage):
    kind: Literal["HearAudio"] = "HearAudio"
    pcm: bytes


class CommitTurn(SessionMessage):
    """The open turn ends here."""

    kind: Literal["CommitTurn"] = "CommitTurn"


class ClearTurn(SessionMessage):
    """The open turn never was."""

    kind: Literal["ClearTurn"] = "ClearTurn"


class OpenSpeaking(SessionMessage):
    kind: Literal["OpenSpeaking"] = "OpenSpeaking"
    text: str
    synthesis: Synthesis | None = None
    """How it is spoken; None: as the lane was loaded for."""
    room_samples: int
    """The most samples that the child sends before the parent grants more."""


class GrantRoom(SessionMessage):
    """The listener took this much; generation pauses while there is no room."""

    kind: Literal["GrantRoom"] = "GrantRoom"
    samples: int


class EndSession(SessionMessage):
    """No more audio comes; the open turn is committed and its text told before the session ends."""

    kind: Literal["EndSession"] = "EndSession"


class CancelSession(SessionMessage):
    """The session ends after the current step, and nothing more of it is told."""

    kind: Literal["CancelSession"] = "CancelSession"


class PauseBatches(Message):
    """Batches stand still after the current step until ResumeBatches; answered by BatchesPaused."""

    kind: Literal["PauseBatches"] = "PauseBatches"


class ResumeBatches(Message):
    kind: Literal["ResumeBatches"] = "ResumeBatches"


class SessionOpened(SessionMessage):
    kind: Literal["SessionOpened"] = "SessionOpened"
    sample_rate_hz: int
    """Of the model, which is that of the audio that it speaks."""


class SpeechStarted(SessionMessage):
    kind: Literal["SpeechStarted"] = "SpeechStarted"
    turn: int
    """Numbered from 0 in each session."""
    audio_milliseconds: int
    """From the first sample of the session, prefix padding included."""


class SpeechStopped(SessionMessage):
    kind: Literal["SpeechStopped"] = "SpeechStopped"
    turn: int
    audio_milliseconds: int
    """The end of the last audible speech, from the first sample of the session."""


class TurnCommitted(SessionMessage):
    kind: Literal["TurnCommitted"] = "TurnCommitted"
    turn: int


class TextDelta(SessionMessage):
    """More text of a turn. Its deltas, one after the other, are the text of its TurnDone."""

    kind: Literal["TextDelta"] = "TextDelta"
    turn: int
    text: str


class TurnDone(SessionMessage):
    kind: Literal["TurnDone"] = "TurnDone"
    turn: int
    text: str = ""
    failure_class: FailureClass | None = None
    reason: str = ""
    start_milliseconds: int = 0
    end_milliseconds: int = 0
    """From the first sample of the session."""
    language: str | None = None
    wait_milliseconds: int = 0
    """From the turn's end until the model took it up."""
    infer_milliseconds: int = 0
    """Of the final pass."""


class SpokenAudio(SessionMessage):
    kind: Literal["SpokenAudio"] = "SpokenAudio"
    pcm: bytes


class SessionEnded(SessionMessage):
    kind: Literal["SessionEnded"] = "SessionEnded"
    failure_class: FailureClass | None = None
    reason: str = ""


class WorkingOnAudio(Message):
    """The model is in a step that may take long; sent again as it gets on."""

    kind: Literal["WorkingOnAudio"] = "WorkingOnAudio"
    audio_milliseconds: int
    """What is left of the audio that it hears or speaks in this step; 0: the step is over."""


class BatchesPaused(Message):
    kind: Literal["BatchesPaused"] = "BatchesPaused"
    step_milliseconds: int
    """How long the step took that had to end first; 0: nothing ran."""


SessionRequest = (
    OpenHearing
    | HearAudio
    | CommitTurn
    | ClearTurn
    | OpenSpeaking
    | GrantRoom
    | EndSession
    | CancelSession
    | PauseBatches
    | ResumeBatches
)
SessionAnswer = (
    SessionOpened
    | SpeechStarted
    | SpeechStopped
    | TurnCommitted
    | TextDelta
    | TurnDone
    | SpokenAudio
    | SessionEnded
    | WorkingOnAudio
    | BatchesPaused
)
