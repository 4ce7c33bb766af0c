"""What a caller may have measured of its session: of each turn, text and speech that it was told, once. Pure.

A measurement counts in the lane's latencies, and late ones send batches back (`yield.mode: Evict`). So none is taken of
what never happened.
"""

from __future__ import annotations

from collections import Counter

from voxfleet_agent.server.session_answers import Answer
from voxfleet_api.session_protocol import LatencyKind, OpenHearing, OpenSpeaking, OpenUpload, TextDelta, TurnDone


class ExpectedMeasurements:
    """Of one session."""

    def __init__(self, request: OpenHearing | OpenUpload | OpenSpeaking) -> None:
        self._hears_turns = isinstance(request, OpenHearing)
        self._left: Counter[LatencyKind] = Counter()
        self._turn_with_text: int | None = None
        if not self._hears_turns:
            of_all = LatencyKind.FIRST_AUDIO if isinstance(request, OpenSpeaking) else LatencyKind.UPLOADED_TEXT
            self._left[of_all] = 1

    def told(self, answer: Answer) -> None:
        """The caller was told this."""
        match answer:
            case TextDelta(turn=turn) if self._hears_turns and turn != self._turn_with_text:
                self._turn_with_text = turn
                self._left[LatencyKind.FIRST_TEXT] += 1
            case TurnDone() if self._hears_turns:
                self._left[LatencyKind.FINAL_TEXT] += 1

    def take(self, latency: LatencyKind) -> bool:
        """Whether one of this kind may come; it may not come again."""
        if self._left[latency] <= 0:
            return False
        self._left[latency] -= 1
        return True
