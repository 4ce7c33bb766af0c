"""When a turn of a session begins and ends, and when it ends because audio has stopped coming.

With turn detection, `engine.turn_detection` decides by what the detector of speech hears. Without it, all audio between
two commits is a turn. Pure, but for the detector of speech that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from voxfleet_agent.engine.turn_detection import (
    EndOfTurn,
    SpeechEnded,
    TurnBegan,
    TurnCleared,
    TurnDetector,
    TurnEnded,
    TurnEvent,
    TurnRules,
)
from voxfleet_agent.worker.session_audio import VAD_RATE_HZ, Samples, SpeechProbabilities, StreamedResampler

LATE_MILLISECONDS = 200
"""How much later than its own length a client's next frame may come before it counts as missing."""
_ONSET_MILLISECONDS = 500
"""Audio that is kept beside the prefix padding, because the detector hears an onset a few chunks late."""


class TurnClock(Protocol):
    """Frames are samples at the model's rate, from the first one of the session."""

    kept_frames: int
    """How much audio a later event may still reach back to, while no turn is open."""

    def hear(self, samples: Samples) -> list[TurnEvent]: ...

    def commit(self) -> list[TurnEvent]: ...

    def clear(self) -> list[TurnEvent]: ...

    def finish(self) -> list[TurnEvent]: ...

    def due_milliseconds(self) -> int | None:
        """How long the last frame may stay the last before the open turn ends; None: it waits for ever."""


class CommittedTurns:
    """Without turn detection: a turn begins with the first sample, and ends by commit or at its greatest length."""

    kept_frames = 0

    def __init__(self, max_turn_frames: int) -> None:
        self._max_turn_frames = max_turn_frames
        self._position = 0
        self._start: int | None = None

    def hear(self, samples: Samples) -> list[TurnEvent]:
        events: list[TurnEvent] = []
        position = self._position
        self._position += len(samples)
        while position < self._position:
            if self._start is None:
                self._start = position
                events.append(TurnBegan(position))
            position = min(self._start + self._max_turn_frames, self._position)
            if position == self._start + self._max_turn_frames:
                events += self._end(position, EndOfTurn.MAX_TURN)
        return events

    def commit(self) -> list[TurnEvent]:
        return self._end(self._position, EndOfTurn.COMMIT)

    def clear(self) -> list[TurnEvent]:
        start, self._start = self._start, None
        return [] if start is None else [TurnCleared(start, self._position)]

    def finish(self) -> list[TurnEvent]:
        return self._end(self._position, EndOfTurn.FINISH)

    def due_milliseconds(self) -> int | None:
        return None

    def _end(self, frame: int, why: EndOfTurn) -> list[TurnEvent]:
        start, self._start = self._start, None
        return [] if start is None else [TurnEnded(start, frame, why)]


class DetectedTurns:
    """With turn detection, at the rate that the detector of speech hears."""

    kept_frames: int

    def __init__(self, rules: TurnRules, vad: SpeechProbabilities) -> None:
        """`rules`: in frames at VAD_RATE_HZ. Raises ValueError for rules that no turn can follow."""
        self._detector = TurnDetector(rules)
        self._vad = vad
        self._position = 0
        self.kept_frames = rules.prefix_padding_frames + VAD_RATE_HZ * _ONSET_MILLISECONDS // 1000

    def hear(self, samples: Samples) -> list[TurnEvent]:
        self._position += len(samples)
        return [event for probability in self._vad.feed(samples) for event in self._detector.feed(probability)]

    def commit(self) -> list[TurnEvent]:
        return self._detector.commit(self._position)

    def clear(self) -> list[TurnEvent]:
        return self._detector.clear(self._position)

    def finish(self) -> list[TurnEvent]:
        return self._detector.finish(self._position)

    def due_milliseconds(self) -> int | None:
        frames = self._detector.due_in_frames()
        return None if frames is None else frames * 1000 // VAD_RATE_HZ


class ResampledTurns:
    """Turns of a model that hears at another rate than the detector of speech."""

    def __init__(
        self, turns: DetectedTurns, open_resampler: Callable[[], StreamedResampler], model_rate_hz: int
    ) -> None:
        self._turns = turns
        self._open_resampler = open_resampler
        self._resampler = open_resampler()
        self._rate_hz = model_rate_hz
        self.kept_frames = (turns.kept_frames + VAD_RATE_HZ // 10) * model_rate_hz // VAD_RATE_HZ  # its filter is late
        self._position = 0
        self._origin, self._detector_origin, self._detector_position = 0, 0, 0
        """The same moment at both rates, and how far the detector has come."""

    def hear(self, samples: Samples) -> list[TurnEvent]:
        self._position += len(samples)
        return self._heard(self._resampler.process(samples))

    def commit(self) -> list[TurnEvent]:
        return self._caught_up() + self._told(self._turns.commit())

    def clear(self) -> list[TurnEvent]:
        return self._caught_up() + self._told(self._turns.clear())

    def finish(self) -> list[TurnEvent]:
        return self._caught_up() + self._told(self._turns.finish())

    def due_milliseconds(self) -> int | None:
        return self._turns.due_milliseconds()

    def _caught_up(self) -> list[TurnEvent]:
        """Has the detector hear what the filter holds back; the filter begins anew."""
        events = self._heard(self._resampler.finish())
        self._resampler = self._open_resampler()
        self._origin, self._detector_origin = self._position, self._detector_position
        return events

    def _heard(self, samples: Samples) -> list[TurnEvent]:
        self._detector_position += len(samples)
        return self._told(self._turns.hear(samples))

    def _told(self, events: Sequence[TurnEvent]) -> list[TurnEvent]:
        return [self._event(event) for event in events]

    def _event(self, event: TurnEvent) -> TurnEvent:
        match event:
            case TurnBegan():
                return TurnBegan(self._frame(event.start_frame))
            case SpeechEnded():
                return SpeechEnded(self._frame(event.end_frame))
            case TurnEnded():
                return replace(
                    event, start_frame=self._frame(event.start_frame), end_frame=self._frame(event.end_frame)
                )
            case TurnCleared():
                return TurnCleared(self._frame(event.start_frame), self._frame(event.end_frame))

    def _frame(self, detector_frame: int) -> int:
        moved = (detector_frame - self._detector_origin) * self._rate_hz // VAD_RATE_HZ
        return max(0, min(self._origin + moved, self._position))
