"""Where the turns of a speaker begin and end, from the probabilities of speech that Silero VAD gives. Pure.

A turn begins with a chunk at or above the threshold. Speech then lasts until a chunk falls below the threshold by
MARGIN, and goes on with the next one at or above the threshold; both are as in Silero's own VADIterator
(github.com/snakers4/silero-vad, src/silero_vad/utils_vad.py). Unlike there, the silence is counted from the start of
its first chunk, and chunks between both thresholds do not delay its end.

Frames are samples at the rate that the detector hears, counted from the first one of the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MARGIN = 0.15
"""How far below the threshold a chunk must be for speech to pause."""
_LOWEST = 0.01
"""Digital silence stays below it, so that speech can pause however low the threshold is."""


class EndOfTurn(StrEnum):
    SILENCE = "Silence"
    MAX_TURN = "MaxTurn"
    COMMIT = "Commit"
    FINISH = "Finish"


@dataclass(frozen=True, slots=True)
class TurnBegan:
    start_frame: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Comes once for each turn, right before its TurnEnded."""

    end_frame: int
    """Where silence began; the end of the turn when there was still speech."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    start_frame: int
    end_frame: int
    why: EndOfTurn


@dataclass(frozen=True, slots=True)
class TurnCleared:
    """The turn that began never was."""

    start_frame: int
    end_frame: int


TurnEvent = TurnBegan | SpeechEnded | TurnEnded | TurnCleared


@dataclass(frozen=True, slots=True)
class TurnRules:
    threshold: float
    """The probability from which on a chunk is speech."""
    prefix_padding_frames: int
    """How much audio before its first speech a turn holds, unless an earlier turn holds it."""
    silence_frames: int
    """The silence that ends a turn, and which the turn still holds."""
    max_turn_frames: int
    """No turn is longer; speech that goes on is in the next one."""

    @property
    def pause_threshold(self) -> float:
        """Below it, speech pauses."""
        return min(self.threshold, max(self.threshold - MARGIN, _LOWEST))


class TurnDetector:
    """The turns of one session. It holds no audio."""

    def __init__(self, rules: TurnRules, chunk_frames: int = 512) -> None:
        """Raises ValueError for a turn that could not hold its prefix and one chunk."""
        if rules.max_turn_frames < rules.prefix_padding_frames + chunk_frames:
            raise ValueError(
                f"max_turn_frames ({rules.max_turn_frames}) must hold prefix_padding_frames"
                f" ({rules.prefix_padding_frames}) and a chunk ({chunk_frames})"
            )
        self._rules = rules
        self._chunk_frames = chunk_frames
        self._position = 0
        """Where the next chunk begins."""
        self._floor = 0
        """No turn begins before it: the end of the last one."""
        self._start: int | None = None
        """Of the open turn."""
        self._speaking = False
        self._silent_from: int | None = None
        """Where speech paused; None while it goes on."""

    def feed(self, probability: float) -> list[TurnEvent]:
        """What the next chunk brings about."""
        begin, self._position = self._position, self._position + self._chunk_frames
        if probability >= self._rules.threshold:
            self._speaking, self._silent_from = True, None
        elif probability < self._rules.pause_threshold and self._silent_from is None:
            self._silent_from = begin
        events: list[TurnEvent] = []
        if self._start is None:
            if self._silent_from is not None:
                self._forget_speech()
            elif self._speaking and self._floor < self._position:
                events += self._begin(begin - self._rules.prefix_padding_frames)
        return events + self._let_time_pass(self._position, silence_counts=True)

    def commit(self, frame: int) -> list[TurnEvent]:
        """Ends the open turn at `frame`; speech that goes on needs the threshold again to begin the next one.

        `frame` is the end of the audio so far, of which less than a chunk may not have been fed: it belongs to the open
        turn. Raises ValueError for a frame before what was fed or before the last turn's end.
        """
        return self._close(frame, EndOfTurn.COMMIT)

    def clear(self, frame: int) -> list[TurnEvent]:
        """Drops the open turn: no turn holds audio from before `frame` any more. Raises ValueError as `commit` does."""
        self._refuse_past(frame)
        start, self._start, self._floor = self._start, None, frame
        self._forget_speech()
        return [] if start is None else [TurnCleared(start, frame)]

    def finish(self, frame: int) -> list[TurnEvent]:
        """Ends the open turn with the session. Raises ValueError as `commit` does."""
        return self._close(frame, EndOfTurn.FINISH)

    def due_in_frames(self) -> int | None:
        """After how many frames without speech, from the last chunk on, the open turn ends. None: no turn is open."""
        if self._start is None:
            return None
        silent_from = self._position if self._silent_from is None else self._silent_from
        return min(silent_from + self._rules.silence_frames, self._start + self._rules.max_turn_frames) - self._position

    def _close(self, frame: int, why: EndOfTurn) -> list[TurnEvent]:
        self._refuse_past(frame)
        # Nobody has judged the frames that were not fed, so they are not counted as silence.
        events = self._let_time_pass(frame, silence_counts=False)
        if self._start is not None:
            events += self._end(self._start, frame, why)
        self._forget_speech()
        return events

    def _let_time_pass(self, frame: int, *, silence_counts: bool) -> list[TurnEvent]:
        """Ends what the clock ends up to `frame`."""
        events: list[TurnEvent] = []
        while self._start is not None:
            longest = self._start + self._rules.max_turn_frames
            if silence_counts and self._silent_from is not None:
                silence = self._silent_from + self._rules.silence_frames
                if silence <= min(longest, frame):
                    events += self._end(self._start, silence, EndOfTurn.SILENCE)
                    self._forget_speech()
                    break
            if longest > frame:
                break
            events += self._end(self._start, longest, EndOfTurn.MAX_TURN)
            if self._silent_from is None and longest < frame:
                events += self._begin(longest)
        return events

    def _begin(self, frame: int) -> list[TurnEvent]:
        self._start = max(frame, self._floor)
        return [TurnBegan(self._start)]

    def _end(self, start: int, frame: int, why: EndOfTurn) -> list[TurnEvent]:
        self._start, self._floor = None, frame
        silent_from = frame if self._silent_from is None else min(self._silent_from, frame)
        return [SpeechEnded(silent_from), TurnEnded(start, frame, why)]

    def _forget_speech(self) -> None:
        self._speaking, self._silent_from = False, None

    def _refuse_past(self, frame: int) -> None:
        earliest = max(self._position, self._floor)
        if frame < earliest:
            raise ValueError(f"frame {frame} is past: {earliest} frames are already decided on")
