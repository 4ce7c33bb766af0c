"""Looks for speech that a clip's channels have and their mix has lost. NumPy only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voxfleet_agent.engine.completeness import MIN_SPEECH_MILLISECONDS
from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS, QUIETEST_DECIBELS, detect

BACKGROUND_PERCENTILE = 10
ABOVE_BACKGROUND_DECIBELS = 6.0
"""Quieter frames may be the background between words."""
TOGETHER_MILLISECONDS = 10_000
"""What is lost within this time counts together. Over an hour a few frames of any two microphones cancel, and no word
is lost by it."""

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class QuietedSpeech:
    """The speech of one clip that its mix has lost, or has much quieter than the loudest channel of the stretch.

    Speech proves that more than hum, noise or music cancels; those may, and often are meant to.
    """

    silenced_decibels: float
    """A frame of speech that loses this much, falls below QUIETEST_DECIBELS, or no longer sounds like speech, is
    lost."""
    quieted_decibels: float
    """A frame of speech that loses this much is quieted."""
    silenced: bool = False
    """Whether at least a short word is lost."""
    quieted_milliseconds: int = 0
    first_milliseconds: int | None = None
    """Where in the clip the first such frame lies."""
    channel: int = 0
    """The channel in which the lost or quieted speech is loudest; the first is 1."""
    before_decibels: float = -120.0
    """Level of the loudest such frame."""
    after_decibels: float = -120.0
    """Level of the same frame in the mix."""
    _spoken: list[tuple[int, Mask]] = field(default_factory=list)
    _lost: deque[tuple[int, int]] = field(default_factory=deque)
    """(where its stretch starts, how much was lost), in milliseconds, of the stretches that count together."""

    def examine(
        self,
        start_milliseconds: int,
        rate_hz: int,
        channel: int,
        before: npt.NDArray[np.float32],
        after: npt.NDArray[np.float32],
    ) -> None:
        """Adds a stretch of the clip: `before` is its loudest channel, `after` the mix, both (N,)."""
        heard, mixed = detect(before, rate_hz), detect(after, rate_hz)
        loss = heard.level - mixed.level
        # Hum between words may be loud and cancel too, and nobody misses it.
        background = float(np.percentile(heard.level, BACKGROUND_PERCENTILE))
        spoken = heard.audible & (heard.level > background + ABOVE_BACKGROUND_DECIBELS)
        quieted = spoken & (loss >= self.quieted_decibels)
        if not quieted.any():
            return
        gone = (loss >= self.silenced_decibels) | (mixed.level < QUIETEST_DECIBELS) | ~mixed.in_speech
        self._lose(start_milliseconds, int((quieted & gone).sum()) * FRAME_MILLISECONDS)
        self.quieted_milliseconds += int(quieted.sum()) * FRAME_MILLISECONDS
        if self.first_milliseconds is None:
            self.first_milliseconds = start_milliseconds + int(quieted.argmax()) * FRAME_MILLISECONDS
        loudest = int(np.where(quieted, heard.level, -np.inf).argmax())
        if heard.level[loudest] > self.before_decibels:
            self.channel = channel
            self.before_decibels, self.after_decibels = float(heard.level[loudest]), float(mixed.level[loudest])
        self._spoken.append((start_milliseconds, quieted))

    def _lose(self, start_milliseconds: int, milliseconds: int) -> None:
        self._lost.append((start_milliseconds, milliseconds))
        while self._lost[0][0] + TOGETHER_MILLISECONDS <= start_milliseconds:
            self._lost.popleft()
        self.silenced |= sum(lost for _, lost in self._lost) >= MIN_SPEECH_MILLISECONDS

    @property
    def noticeable(self) -> bool:
        """Whether at least a short word is much quieter."""
        return self.quieted_milliseconds >= MIN_SPEECH_MILLISECONDS

    def within(self, start_milliseconds: int, frames: int) -> Mask:
        """(frames,): where a channel speaks that the mix has quieted, from `start_milliseconds` of the clip on."""
        spoken = np.zeros(frames, dtype=bool)
        for start, mask in self._spoken:
            offset = (start - start_milliseconds) // FRAME_MILLISECONDS
            first, last = max(0, offset), min(frames, offset + len(mask))
            if first < last:
                spoken[first:last] |= mask[first - offset : last - offset]
        return spoken
