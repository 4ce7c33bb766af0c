"""Whether a socket's client is still there and has anything to say, and whether the session's time is over. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from voxfleet_api.kinds.endpoint_session import SessionLimits
from voxfleet_gateway.realtime.endings import DRAINING, Ending, idle_too_long, too_old


@dataclass(frozen=True, slots=True)
class SocketTimes:
    """In seconds. A client that is gone, or takes nothing, is noticed within five."""

    ping_after: float = 3.0
    """Of nothing received."""
    pong_within: float = 1.5
    send_within: float = 4.0
    """A message, once the buffers on the way to the client are full."""
    close_within: float = 2.0
    """The client's answer to the close frame."""


@dataclass(frozen=True, slots=True)
class SocketState:
    """Times in seconds on one monotonic clock."""

    is_draining: bool
    deadline: float
    reading_since: float | None
    """None: the gateway does not read now, because the lane takes no more."""
    last_received: float
    """Anything at all, pongs too."""
    last_said: float
    """A message, either way."""
    pinged_at: float | None
    """When a ping was sent after which nothing was received."""
    awaits_text: bool
    """The client waits for the lane."""


class Unreachable(Enum):
    CLIENT = auto()
    """It answers no ping; nothing more can be told."""


class Ping(Enum):
    NOW = auto()


@dataclass(frozen=True, slots=True)
class Rest:
    seconds: float


def watched(
    state: SocketState, limits: SessionLimits, times: SocketTimes, now: float
) -> Ending | Unreachable | Ping | Rest:
    if state.is_draining:
        return DRAINING
    if now >= state.deadline:
        return too_old(limits)
    dues = [state.deadline]
    if state.reading_since is None:
        # What was received meanwhile is not known before the gateway reads again.
        dues.append(now + times.ping_after)
    else:
        if not state.awaits_text:
            idle_at = max(state.last_said, state.reading_since) + limits.idle_seconds
            if now >= idle_at:
                return idle_too_long(limits)
            dues.append(idle_at)
        if state.pinged_at is None:
            ping_at = max(state.last_received, state.reading_since) + times.ping_after
            if now >= ping_at:
                return Ping.NOW
            dues.append(ping_at)
        else:
            lost_at = max(state.pinged_at, state.reading_since) + times.pong_within
            if now >= lost_at:
                return Unreachable.CLIENT
            dues.append(lost_at)
    return Rest(min(dues) - now)
