"""What is measured of the turns of one session: when samples came and went on, and what of it a text took. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.session_protocol import LatencyKind, SpeechStarted, TextDelta, TurnDone, TurnMeasured
from voxfleet_gateway.realtime.sample_times import SampleTimes
from voxfleet_gateway.turn_latency import TurnStamps, turn_measured

_MOST_MARKS = 2_048
"""40 s in frames of 20 ms. Of a turn that began earlier, nothing is measured."""
_MOST_AWAITED_TURNS = 16


@dataclass(frozen=True, slots=True)
class Told:
    """When the Mac's answer was here, and when it was written to the client; in seconds."""

    told_seconds: float
    written_seconds: float


class TurnTiming:
    def __init__(self, rate_hz: int) -> None:
        """`rate_hz`: of the client's audio."""
        self._rate_hz = rate_hz
        self._arrived = SampleTimes(most_marks=_MOST_MARKS)
        self._sent = SampleTimes(most_marks=_MOST_MARKS)
        self._awaited: dict[int, int] = {}
        """The first sample of each turn whose first text is awaited."""

    def arrived(self, samples: int, now_seconds: float) -> None:
        self._arrived.passed(samples, now_seconds)

    def sent(self, samples: int, now_seconds: float) -> None:
        self._sent.passed(samples, now_seconds)

    def speech_started(self, event: SpeechStarted) -> None:
        if len(self._awaited) < _MOST_AWAITED_TURNS:
            self._awaited[event.turn] = self._sample(event.audio_milliseconds)

    def text_told(self, event: TextDelta, told: Told, *, tunnel_milliseconds: int) -> TurnMeasured | None:
        """None but for the first text of a turn whose beginning is known."""
        first_sample = self._awaited.pop(event.turn, None)
        if first_sample is None:
            return None
        return self._measured(LatencyKind.FIRST_TEXT, first_sample, told, tunnel_milliseconds, infer_milliseconds=0)

    def turn_told(self, event: TurnDone, told: Told, *, tunnel_milliseconds: int) -> TurnMeasured | None:
        """From the last voiced sample, or the turn's last one where no detector says which was voiced.

        None for a turn that failed, and where the sample's time is not known any more.
        """
        for turn in [turn for turn in self._awaited if turn <= event.turn]:
            del self._awaited[turn]
        milliseconds = (
            event.end_milliseconds if event.voiced_end_milliseconds is None else event.voiced_end_milliseconds
        )
        last_sample = max(0, self._sample(milliseconds) - 1)
        measured = None
        if event.failure_class is None:
            measured = self._measured(
                LatencyKind.FINAL_TEXT,
                last_sample,
                told,
                tunnel_milliseconds,
                infer_milliseconds=event.infer_milliseconds,
            )
        self._arrived.forget_before(last_sample)
        self._sent.forget_before(last_sample)
        return measured

    def _measured(
        self, latency: LatencyKind, sample: int, told: Told, tunnel_milliseconds: int, *, infer_milliseconds: int
    ) -> TurnMeasured | None:
        arrived_seconds = self._arrived.time_of(sample)
        if arrived_seconds is None:
            return None
        sent_seconds = self._sent.time_of(sample)
        stamps = TurnStamps(
            began_seconds=arrived_seconds,
            sent_seconds=arrived_seconds if sent_seconds is None else sent_seconds,
            told_seconds=told.told_seconds,
            written_seconds=told.written_seconds,
        )
        return turn_measured(
            latency, stamps, tunnel_milliseconds=tunnel_milliseconds, infer_milliseconds=infer_milliseconds
        )

    def _sample(self, milliseconds: int) -> int:
        """A lane that resamples rounds at each commit: by and by its clock is ahead of what has come."""
        return min(milliseconds * self._rate_hz // 1000, self._arrived.samples)
