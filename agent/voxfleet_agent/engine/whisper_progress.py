"""How far Whisper has come in a clip.

mlx-audio's `generate` goes through a clip in segments of at most 30 s and tells nobody. It calls `model.decode` once
for each segment, and again, hotter, for one that came out badly. Its progress bar is no substitute: it stands still
while segments without speech are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

SEGMENT_MILLISECONDS = 30_000
TIMESTAMP_MILLISECONDS = 20
"""The step from one timestamp token to the next."""
NO_SPEECH_THRESHOLD = 0.6
LOGPROB_THRESHOLD = -1.0
"""The defaults of `generate`, which the agent leaves alone."""

Heard = Callable[[int], None]
"""Called with the milliseconds of the clip's audio that the model has worked through."""


class _DecodingResult(Protocol):
    """The part of mlx-audio's DecodingResult that is used here."""

    @property
    def tokens(self) -> Sequence[int]: ...

    @property
    def no_speech_prob(self) -> float: ...

    @property
    def avg_logprob(self) -> float: ...


class WhisperProgress:
    """Stands in for the `decode` of one model, for as long as the model lives."""

    def __init__(self, model: Any) -> None:
        self._decode = model.decode
        self.timestamp_begin: int = model.get_tokenizer().timestamp_begin
        """The token of the time 0."""
        self._heard: Heard | None = None
        self._segment: object = None
        self._before_milliseconds = 0
        """Where the segment begins."""
        self._after_milliseconds = 0
        model.decode = self._decode_and_tell

    @contextmanager
    def told(self, heard: Heard | None) -> Iterator[None]:
        """While the context is open, `heard` learns of every try at a segment of one clip.

        Contexts nest: `heard` may have the model transcribe another clip before it goes on.
        """
        around = self._heard, self._segment, self._before_milliseconds, self._after_milliseconds
        self._heard, self._segment, self._before_milliseconds, self._after_milliseconds = heard, None, 0, 0
        try:
            yield
        finally:
            self._heard, self._segment, self._before_milliseconds, self._after_milliseconds = around

    def _decode_and_tell(self, segment: object, *arguments: object, **settings: object) -> _DecodingResult:
        result: _DecodingResult = self._decode(segment, *arguments, **settings)
        if self._heard is None:
            return result
        if segment is not self._segment:  # else it is another try at the same one
            self._segment, self._before_milliseconds = segment, self._after_milliseconds
        if _is_skipped(result):
            heard_milliseconds = SEGMENT_MILLISECONDS
        else:
            heard_milliseconds = finished_milliseconds(result.tokens, self.timestamp_begin)
        self._after_milliseconds = self._before_milliseconds + heard_milliseconds
        self._heard(self._after_milliseconds)
        return result


def _is_skipped(result: _DecodingResult) -> bool:
    """Whether mlx-audio takes the segment as silent: it drops the text, whatever its times, and goes on behind it."""
    return result.no_speech_prob > NO_SPEECH_THRESHOLD and not result.avg_logprob > LOGPROB_THRESHOLD


def finished_milliseconds(tokens: Sequence[int], timestamp_begin: int) -> int:
    """How much of a segment with speech is done, by mlx-audio's rule for where the next one begins. Pure.

    Two timestamps in a row close one phrase and open the next, which the next segment hears again from its start,
    unless the text ends with a single timestamp. Word timestamps move the next segment by a little more.
    """
    stamps = [token >= timestamp_begin for token in tokens]
    pairs = [place for place in range(1, len(stamps)) if stamps[place - 1] and stamps[place]]
    if not pairs or stamps[-2:] == [False, True]:
        return SEGMENT_MILLISECONDS
    return (tokens[pairs[-1] - 1] - timestamp_begin) * TIMESTAMP_MILLISECONDS
