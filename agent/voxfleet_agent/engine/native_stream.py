"""A turn that is heard as it is spoken, by a model that keeps state for it: mlx-audio's `create_streaming_session`.

Of mlx-audio's families, nemotron_asr and voxtral_realtime have one. Its text only grows.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

_STEP_TOKENS = 8
"""How many tokens a step writes at most; nemotron_asr counts blanks, of which there are 12.5 in each second."""
_QUIET_STEPS = 2
"""After so many steps without text a stream waits for audio. What it may still hold back comes with the next audio."""
_PIECE_SECONDS = 1
"""Audio is given at most so much at a time: nemotron_asr takes 30 s in all."""


class StreamingSession(Protocol):
    """The part of mlx_audio.stt.streaming.StreamingSession that is used here."""

    input_sample_rate: int

    @property
    def done(self) -> bool: ...

    def feed(self, samples: npt.NDArray[np.float32]) -> None: ...

    def close(self) -> None: ...

    def step(self, *, max_decode_tokens: int = 4) -> list[str]: ...


class NativeStream:
    """One turn. Use it on the thread that owns the model; whatever the model's own code raises is raised here."""

    def __init__(self, session: StreamingSession) -> None:
        self._session = session
        self._waiting = np.zeros(0, np.float32)
        self._closed = False
        self._quiet_steps = 0
        self.text = ""
        """All that was heard, possibly with white space at its ends."""

    @property
    def done(self) -> bool:
        """Whether the closed turn is heard to its end."""
        return self._session.done

    @property
    def idle(self) -> bool:
        """Whether a step would find nothing to hear."""
        return self.done or (not self._closed and not len(self._waiting) and self._quiet_steps >= _QUIET_STEPS)

    def feed(self, samples: npt.NDArray[np.float32]) -> None:
        """(N,) float32 at the model's rate, which follow those before."""
        self._waiting = np.concatenate([self._waiting, samples])
        self._quiet_steps = 0

    def close(self) -> None:
        """No more audio comes; it is heard to its end by further steps."""
        self._closed = True

    def step(self) -> None:
        """Hears at most a second more, and writes a few tokens."""
        count = _PIECE_SECONDS * self._session.input_sample_rate
        piece, self._waiting = self._waiting[:count], self._waiting[count:]
        if len(piece):
            self._session.feed(piece)
        if self._closed and not len(self._waiting):
            self._session.close()
        text = "".join(self._session.step(max_decode_tokens=_STEP_TOKENS))
        self._quiet_steps = 0 if text else self._quiet_steps + 1
        self.text += text
