"""The two detectors of speech, and the processor time that each takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voxfleet_agent.engine.silero import RATE_HZ as RATE_HZ
from voxfleet_agent.engine.silero import SileroDetector
from voxfleet_agent.engine.speech_detection import audible_speech

Mask = npt.NDArray[np.bool_]
_Samples = npt.NDArray[np.float32]


@dataclass(slots=True)
class Detectors:
    _silero: SileroDetector = field(default_factory=SileroDetector)
    _audio_seconds: dict[str, float] = field(default_factory=dict)
    _work_seconds: dict[str, float] = field(default_factory=dict)

    def cheap(self, samples: _Samples) -> Mask:
        """(F,) bool: where the agent's own detector hears speech in samples (N,) at RATE_HZ."""
        return self._timed("cheap", audible_speech, samples)

    def silero(self, samples: _Samples) -> Mask:
        """(F,) bool: where Silero hears it."""
        return self._timed("Silero", self._silero.audible_speech, samples)

    def milliseconds_per_second(self) -> dict[str, float]:
        """Processor time a second of audio so far, by detector."""
        return {name: self._work_seconds[name] * 1000 / seconds for name, seconds in self._audio_seconds.items()}

    def _timed(self, name: str, detect: Callable[[_Samples, int], Mask], samples: _Samples) -> Mask:
        started = time.thread_time()
        mask = detect(samples, RATE_HZ)
        self._work_seconds[name] = self._work_seconds.get(name, 0.0) + time.thread_time() - started
        self._audio_seconds[name] = self._audio_seconds.get(name, 0.0) + len(samples) / RATE_HZ
        return mask
