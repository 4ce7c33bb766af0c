"""Judges whether the mix of a clip's channels has lost its speech."""

from __future__ import annotations

from voxfleet_agent.audio.header_facts import refused
from voxfleet_agent.audio.levels import (
    QUIETED_DECIBELS,
    SILENCED_DECIBELS,
    QuietedStretch,
    level_lost,
    silent_mix,
)
from voxfleet_agent.engine.quieted_speech import Mask, QuietedSpeech
from voxfleet_api.clip_warnings import RowWarning


class MixdownJudge:
    """Judges one clip."""

    def __init__(self) -> None:
        self._speech = QuietedSpeech(silenced_decibels=SILENCED_DECIBELS, quieted_decibels=QUIETED_DECIBELS)

    def examine(self, stretch: QuietedStretch) -> None:
        """Raises VoxFleetError(CONTRACT_VIOLATION) once the mix has lost at least a short word."""
        speech = self._speech
        start_milliseconds = stretch.start_frame * 1000 // stretch.rate_hz
        speech.examine(start_milliseconds, stretch.rate_hz, stretch.channel, stretch.before, stretch.after)
        if speech.silenced:
            what = f"from {self._first_seconds:.1f} s on, speech in channel {speech.channel}"
            raise refused(silent_mix(what, speech.before_decibels, speech.after_decibels))

    def speech(self, start_milliseconds: int, frames: int) -> Mask:
        """(frames,): where a channel speaks that the mix has quieted, from `start_milliseconds` of the clip on."""
        return self._speech.within(start_milliseconds, frames)

    @property
    def note(self) -> str | None:
        """What the mix did to the speech so far, when it is worth a warning."""
        speech = self._speech
        if not speech.noticeable:
            return None
        return (
            f"downmix Mean made {speech.quieted_milliseconds / 1000:.1f} s of speech quieter, from"
            f" {self._first_seconds:.1f} s on: channel {speech.channel} reaches {speech.before_decibels:.0f} dB, the"
            f" mix {speech.after_decibels:.0f} dB"
        )

    @property
    def warnings(self) -> tuple[RowWarning, ...]:
        note = self.note
        return () if note is None else (level_lost(note),)

    @property
    def _first_seconds(self) -> float:
        return (self._speech.first_milliseconds or 0) / 1000
