"""When a child that serves sessions counts as hung. Pure.

A child owes an answer to a session that it was asked to open, end or cancel, whose turn has ended without its text, or
that has room for speech. It owes none to one that only sends audio: silence is never answered. But it always takes what
it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass

CHECK_SECONDS = 0.5
"""Time between two looks at a child."""


@dataclass(frozen=True, slots=True)
class SessionTimeouts:
    answer_seconds: float = 30.0
    """Least time without any message while the child owes one, or without taking anything of what it was sent."""
    pace_factor: int = 10
    """A slow model may take this many times as long as it took for its first audio, and as the audio lasts that it
    works on in one step."""
    most_seconds: float = 300.0
    """Most time without any message, beside what such a step takes, and most time that one session waits for what it
    is owed beside others that get theirs."""

    def allowed_seconds(self, first_audio_seconds: float) -> float:
        """`first_audio_seconds`: how long the model took for its first audio."""
        return min(max(self.answer_seconds, self.pace_factor * first_audio_seconds), self.most_seconds)


@dataclass(frozen=True, slots=True)
class ChildSilence:
    """A child at one moment. Times are on the loop's clock."""

    owed_since_seconds: float | None
    """Since when the session that has waited longest waits for an answer; None: the child owes none."""
    passed_over_since_seconds: float | None
    """The same, of the sessions before which the child has no reason to serve others for long."""
    untaken_since_seconds: float | None
    """Since when the child has taken nothing, though something waits for it; None: it has taken all."""
    last_received_seconds: float
    first_audio_seconds: float
    step_audio_seconds: float = 0.0
    """What is left of the audio that the model works on in one step, which others wait for; 0: no such step runs."""


def misbehaviour(timeouts: SessionTimeouts, silence: ChildSilence, now_seconds: float) -> str | None:
    """What the child is to be killed for; None while it may go on."""
    step_seconds = timeouts.pace_factor * silence.step_audio_seconds
    allowed_seconds = timeouts.allowed_seconds(silence.first_audio_seconds) + step_seconds
    if silence.untaken_since_seconds is not None and now_seconds - silence.untaken_since_seconds >= allowed_seconds:
        return f"took nothing of what it was sent for {allowed_seconds:.0f} s"
    owed, passed_over = silence.owed_since_seconds, silence.passed_over_since_seconds
    if owed is not None and now_seconds - max(owed, silence.last_received_seconds) >= allowed_seconds:
        return f"gave no sign of life for {allowed_seconds:.0f} s"
    if passed_over is not None and not step_seconds and now_seconds - passed_over >= timeouts.most_seconds:
        return f"owed a session an answer for {timeouts.most_seconds:.0f} s"
    return None
