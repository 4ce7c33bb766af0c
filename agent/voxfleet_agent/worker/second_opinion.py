"""Asks the costly detector of speech about the stretches of a piece that are in doubt, and about no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS
from voxfleet_agent.worker.decode_thread import AudibleSpeech, Mask, Samples

MARGIN_MILLISECONDS = 2_000
"""Heard on both sides of a doubt: a detector needs a moment of a voice, and a text may be placed beside its speech."""
STRETCH_MILLISECONDS = 32_000
"""The most that is asked at once: half a second of one processor, some seconds of a busy one. Then the lane shows a
sign of life."""

_MARGIN_FRAMES = MARGIN_MILLISECONDS // FRAME_MILLISECONDS
_STRETCH_FRAMES = STRETCH_MILLISECONDS // FRAME_MILLISECONDS


class SecondOpinion:
    """What is known of the speech in one piece."""

    def __init__(
        self,
        detector: AudibleSpeech,
        samples: Samples,
        sample_rate_hz: int,
        speech: Mask,
        listened: Callable[[], None],
    ) -> None:
        """`samples`: (N,); `speech`: (F,), what the cheap detector hears in them; `listened` is called after each
        stretch."""
        self._detector = detector
        self._samples = samples
        self._sample_rate_hz = sample_rate_hz
        self._listened = listened
        self._asked = np.zeros(len(speech), np.bool_)
        self.heard = speech.copy()
        """(F,): where speech is audible, to the costly detector where it was asked, else to the cheap one."""

    def ask(self, doubtful: Mask) -> bool:
        """Asks about the frames in doubt, (F,), with a margin; returns False if it was asked about all before."""
        new = doubtful & ~self._asked
        if not new.any():
            return False
        wanted = np.zeros(len(new), np.bool_)
        for first, behind in _runs(new):
            wanted[max(0, first - _MARGIN_FRAMES) : behind + _MARGIN_FRAMES] = True
        for first, behind in _runs(wanted):
            for start in range(first, behind, _STRETCH_FRAMES):
                self._listen(start, min(start + _STRETCH_FRAMES, behind), lead=min(_MARGIN_FRAMES, start - first))
        return True

    def _listen(self, first: int, behind: int, lead: int) -> None:
        """`lead`: how many frames before the stretch the detector is to hear."""
        hop = self._sample_rate_hz * FRAME_MILLISECONDS // 1000
        # A frame is longer than the step to the next one.
        samples = self._samples[(first - lead) * hop : (behind + 1) * hop]
        answer = self._detector(samples, self._sample_rate_hz)[lead : lead + behind - first]
        self.heard[first : first + len(answer)] = answer
        self._asked[first:behind] = True
        self._listened()


def _runs(frames: Mask) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of each run of frames that are set."""
    edges = np.flatnonzero(np.diff(frames.astype(np.int8), prepend=0, append=0)).tolist()
    yield from zip(edges[::2], edges[1::2], strict=True)
