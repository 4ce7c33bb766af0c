"""What a client's format asks of its socket: the seam between the formats, which are pure, and the socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from voxfleet_api.session_protocol import OpenHearing, SpeechStarted, SpeechStopped, TextDelta, TurnCommitted, TurnDone
from voxfleet_gateway.realtime.endings import Ending

Message = dict[str, object]
"""JSON."""

TurnEvent = SpeechStarted | SpeechStopped | TurnCommitted | TextDelta | TurnDone


@dataclass(frozen=True, slots=True)
class Tell:
    """The client is told."""

    message: Message


@dataclass(frozen=True, slots=True)
class Open:
    """The lane's session is opened; comes once, before what is heard."""

    request: OpenHearing


@dataclass(frozen=True, slots=True)
class Hear:
    """PCM16, whole samples."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    pass


@dataclass(frozen=True, slots=True)
class Clear:
    pass


@dataclass(frozen=True, slots=True)
class End:
    """No more audio comes; the tail is still told."""


@dataclass(frozen=True, slots=True)
class Close:
    ending: Ending


Step = Tell | Open | Hear | Commit | Clear | End | Close
Steps = Sequence[Step]


class RealtimeFormat(Protocol):
    """One socket's side of a format: what follows from a message, or from what the lane tells."""

    def reservation(self) -> OpenHearing:
        """With what a lane is held until the client has said what it wants."""
        ...

    def greeting(self) -> Steps: ...

    def client_said(self, message: str | bytes) -> Steps: ...

    def lane_said(self, event: TurnEvent) -> Steps: ...

    def farewell(self, ending: Ending) -> Sequence[Message]:
        """What the client is told right before the socket closes."""
        ...
