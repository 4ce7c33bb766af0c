"""The messages of sessions: what a lane and its child send each other while people speak and listen.

A lane that has loaded its model (messages.Load) takes sessions or batches. The parent opens a session under a number
of its own choice, feeds it, and ends or cancels it; the child answers with what it hears or speaks, and with exactly
one SessionEnded for each session that was opened, after which the number means nothing: what was on its way is dropped
on both sides. A session that fails ends alone, with a failure class. The parent never waits for the child here: what
it sends is bounded by the session's own limits, and the child takes messages between two steps of inference.

Audio is PCM: 16-bit little-endian samples of one channel, always whole ones. Or a session is opened for a recording, of
which the bytes of its file come as they are.

The parent has at most SessionOpened.window_bytes on the way that no AudioTaken has counted; one who sends more may lose
the session (Throttled), and one who does not never does for its audio.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis
from voxfleet_api.rows import TimedText


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
    partial_milliseconds: int | None = None
    """How often an open turn is decoded again by a model that does not stream; None: only at its end."""
    max_turn_milliseconds: int
    """A turn that reaches it ends by itself; earlier where the contract or the lane allows no turn so long."""
    language: str | None = None
    """A code or a name; None: as the lane was loaded for."""


class HearAudio(SessionMessage):
    kind: Literal["HearAudio"] = "HearAudio"
    pcm: bytes


class OpenFile(SessionMessage):
    """A recording comes as the bytes of its file, until EndSession.

    It is judged and cut as a clip of a batch. Each piece is a turn, whose times count from the start of the file. Texts
    of pieces are joined by a space where both have one. A file that a batch would refuse ends the session with the same
    class and reason.
    """

    kind: Literal["OpenFile"] = "OpenFile"
    max_bytes: Annotated[int, Field(ge=1)]
    """Of the file; a longer one ends the session as InvalidInput."""
    extension: str = ""
    """Of the file's name; only for messages, for the contract looks at the bytes."""
    language: str | None = None
    """As in OpenHearing."""


class FileBytes(SessionMessage):
    """The next bytes of the file."""

    kind: Literal["FileBytes"] = "FileBytes"
    content: bytes


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
    """No more audio comes; the open turn is committed and its text told before the session ends. Of a file, its end."""

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
    window_bytes: int = 0
    """How many bytes of HearAudio.pcm or FileBytes.content may be on the way that no AudioTaken has counted; 0 for a
    session that speaks."""


class AudioTaken(SessionMessage):
    """So many of the bytes of audio have been taken since the session was opened, and wait for nothing any more."""

    kind: Literal["AudioTaken"] = "AudioTaken"
    total_bytes: int


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


class TurnDropped(SessionMessage):
    """The client cleared the turn whose speech had started; nothing more of it is told."""

    kind: Literal["TurnDropped"] = "TurnDropped"
    turn: int


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
    """From the first sample of the session, or of the file."""
    voiced_end_milliseconds: int | None = None
    """The end of its last audible speech; None: nobody detects speech."""
    language: str | None = None
    segments: tuple[TimedText, ...] | None = None
    """Of a file's piece, where the model tells times; from the first sample of the file."""
    revisions: int = 0
    """How often a pass contradicted text of the turn that had been sent, which stands."""
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
    audio_milliseconds: int | None = None
    """Of a file, or of all that was spoken; None: not known."""
    wait_milliseconds: int = 0
    """Of a text: from its session's opening until the model took it up."""
    infer_milliseconds: int = 0
    """Of a text: for its first chunk."""


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
    | OpenFile
    | FileBytes
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
    | AudioTaken
    | SpeechStarted
    | SpeechStopped
    | TurnDropped
    | TurnCommitted
    | TextDelta
    | TurnDone
    | SpokenAudio
    | SessionEnded
    | WorkingOnAudio
    | BatchesPaused
)
