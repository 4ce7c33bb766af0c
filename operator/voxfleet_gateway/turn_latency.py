"""How long a turn or a text took, by part, out of stamps on one monotonic clock. Pure.

The parts add up to the total. What neither the gateway, nor the round trips, nor the model account for is the wait: for
the end of the turn to be certain, and for the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from voxfleet_api.session_protocol import LatencyKind, TurnMeasured

SPEECH_ROUND_TRIPS = 4
"""Two for the connection (SSH: the channel and the agent's proof; HTTPS: TCP and TLS), the upgrade, and the text until
its speech."""
RECORDING_ROUND_TRIPS = 5
"""The same, the opening, and the recording until its text."""


@dataclass(frozen=True, slots=True)
class TurnStamps:
    """In seconds. What was told or written before `began_seconds` took no time."""

    began_seconds: float
    """FinalText: the last voiced sample was here. UploadedText: the last byte was. FirstAudio: the request was."""
    sent_seconds: float
    """That was passed on to the Mac; where the session was opened for it: asked for."""
    told_seconds: float
    """The Mac's answer was here."""
    written_seconds: float
    """It was written to the client."""


def turn_measured(
    latency: LatencyKind,
    stamps: TurnStamps,
    *,
    tunnel_milliseconds: int,
    infer_milliseconds: int,
    round_trips: int = 1,
    stalls: int = 0,
) -> TurnMeasured:
    """`tunnel_milliseconds`: of one round trip to the Mac; `round_trips`: how many lay between `sent` and `told`."""
    began = stamps.began_seconds
    told = max(stamps.told_seconds, began)
    sent = min(max(stamps.sent_seconds, began), told)
    written = max(stamps.written_seconds, told)
    total = round((written - began) * 1000)
    left = total
    gateway = min(round((sent - began + written - told) * 1000), left)
    left -= gateway
    tunnel = min(max(tunnel_milliseconds, 0) * round_trips, left)
    left -= tunnel
    infer = min(max(infer_milliseconds, 0), left)
    return TurnMeasured(
        latency=latency,
        total_milliseconds=total,
        gateway_milliseconds=gateway,
        tunnel_milliseconds=tunnel,
        wait_milliseconds=left - infer,
        infer_milliseconds=infer,
        stalls=stalls,
    )


@dataclass(frozen=True, slots=True)
class Playback:
    """A listener that plays speech from its first chunk on."""

    stalls: int = 0
    """Chunks that came later than it needed them."""
    runs_dry_seconds: float | None = None
    """When it has played all that it has; None: it has nothing yet."""

    def with_chunk(self, *, awaited_seconds: float, came_seconds: float, audio_seconds: float) -> Playback:
        """`awaited_seconds`: since when the chunk could have been written. Until then the listener itself was slow."""
        if self.runs_dry_seconds is None:
            return replace(self, runs_dry_seconds=came_seconds + audio_seconds)
        needed = max(self.runs_dry_seconds, awaited_seconds)
        return Playback(
            stalls=self.stalls + (came_seconds > needed),
            runs_dry_seconds=max(needed, came_seconds) + audio_seconds,
        )
