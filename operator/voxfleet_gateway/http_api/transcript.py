"""The transcript of a file, put together out of its turns. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.rows import TimedText
from voxfleet_api.session_protocol import TextDelta, TurnDone


class Transcript:
    """Texts of turns are joined by a space, as a batch joins the windows of a clip."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._told_of_turn = ""
        self._segments: list[TimedText] = []
        self.language: str | None = None
        """Of the first turn that knows one."""
        self.infer_milliseconds = 0
        self.end_milliseconds = 0
        """Of the last turn."""

    @property
    def text(self) -> str:
        """All that `add_delta` and `add_turn` returned, one after the other."""
        return "".join(self._texts)

    @property
    def segments(self) -> Sequence[TimedText]:
        """A turn without times is one segment."""
        return self._segments

    def add_delta(self, delta: TextDelta) -> str:
        """Returns what the transcript grew by."""
        return self._grow(delta.text)

    def add_turn(self, turn: TurnDone) -> str:
        """Returns what the transcript grew by, beyond the turn's deltas."""
        told = self._told_of_turn
        grown = self._grow(turn.text.removeprefix(told)) if turn.text.startswith(told) else ""
        self._told_of_turn = ""
        self._segments += _segments(turn)
        self.language = self.language or turn.language
        self.infer_milliseconds += turn.infer_milliseconds
        self.end_milliseconds = turn.end_milliseconds
        return grown

    def _grow(self, text: str) -> str:
        if not text:
            return ""
        grown = f" {text}" if self._texts and not self._told_of_turn else text
        self._told_of_turn += text
        self._texts.append(grown)
        return grown


def _segments(turn: TurnDone) -> Sequence[TimedText]:
    if turn.segments is not None:
        return turn.segments
    if not turn.text:
        return ()
    span = TimedText(start_milliseconds=turn.start_milliseconds, end_milliseconds=turn.end_milliseconds, text=turn.text)
    return (span,)
