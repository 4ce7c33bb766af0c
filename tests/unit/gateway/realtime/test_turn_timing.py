"""When samples came, and what of it a turn's text took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import LatencyKind, SpeechStarted, TextDelta, TurnDone, TurnMeasured
from voxfleet_gateway.realtime.sample_times import SampleTimes
from voxfleet_gateway.realtime.turn_timing import Told, TurnTiming

RATE_HZ = 16_000


@given(
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=3200), st.floats(min_value=0, max_value=0.2)),
        min_size=1,
        max_size=60,
    )
)
def test_a_samples_time_is_never_late_and_early_by_little(frames: list[tuple[int, float]]) -> None:
    times = SampleTimes(most_marks=1000)
    now, came = 0.0, []
    for samples, pause in frames:
        now += pause
        times.passed(samples, now)
        came += [now] * samples
    for sample in range(0, len(came), 97):
        time_of = times.time_of(sample)
        assert time_of is not None and came[sample] - 0.021 <= time_of <= came[sample]
    assert times.time_of(len(came)) is None


def test_marks_are_bounded_and_forgotten() -> None:
    times = SampleTimes(most_marks=3)
    for second in range(5):
        times.passed(RATE_HZ, second)
    assert [times.time_of(second * RATE_HZ) for second in range(6)] == [None, None, 2, 3, 4, None]
    times.forget_before(4 * RATE_HZ)
    assert [times.time_of(second * RATE_HZ) for second in range(6)] == [None, None, None, None, 4, None]


def spoken_for_three_seconds() -> TurnTiming:
    """A second of audio a second, from the 10th on; each went on to the Mac 0.1 s later."""
    timing = TurnTiming(RATE_HZ)
    for second in range(3):
        timing.arrived(RATE_HZ, 10 + second)
        timing.sent(RATE_HZ, 10.1 + second)
    return timing


def test_a_turn_is_measured_although_the_lane_s_clock_is_ahead_of_what_came() -> None:
    """It resamples, and rounds up at each commit of a long session."""
    done = TurnDone(turn=40, end_milliseconds=3002)
    measured = spoken_for_three_seconds().turn_told(done, Told(12.5, 12.52), tunnel_milliseconds=0)
    assert measured is not None and measured.total_milliseconds == 520


def test_a_final_text_is_measured_from_the_last_voiced_sample() -> None:
    timing = spoken_for_three_seconds()
    done = TurnDone(turn=0, end_milliseconds=3000, voiced_end_milliseconds=2000, infer_milliseconds=200)
    measured = timing.turn_told(done, Told(12.0, 12.02), tunnel_milliseconds=30)
    assert measured == TurnMeasured(
        latency=LatencyKind.FINAL_TEXT,
        total_milliseconds=1020,
        gateway_milliseconds=120,
        tunnel_milliseconds=30,
        wait_milliseconds=670,
        infer_milliseconds=200,
    )


def test_without_a_detector_it_is_the_turns_last_sample() -> None:
    timing = spoken_for_three_seconds()
    done = TurnDone(turn=0, end_milliseconds=3000)
    measured = timing.turn_told(done, Told(12.5, 12.5), tunnel_milliseconds=0)
    assert measured is not None and measured.total_milliseconds == 500


def test_a_turns_first_text_is_measured_from_its_first_sample_and_once() -> None:
    timing = spoken_for_three_seconds()
    timing.speech_started(SpeechStarted(turn=0, audio_milliseconds=1000))
    told = Told(11.9, 12.0)
    first = timing.text_told(TextDelta(turn=0, text="a"), told, tunnel_milliseconds=10)
    assert first is not None and (first.latency, first.total_milliseconds) == (LatencyKind.FIRST_TEXT, 1000)
    assert timing.text_told(TextDelta(turn=0, text="b"), told, tunnel_milliseconds=10) is None


def test_nothing_is_measured_of_a_turn_that_failed_or_whose_audio_is_not_known_any_more() -> None:
    timing = spoken_for_three_seconds()
    failed = TurnDone(turn=0, end_milliseconds=1000, failure_class=FailureClass.INFERENCE_ERROR)
    assert timing.turn_told(failed, Told(12, 12), tunnel_milliseconds=0) is None
    done = TurnDone(turn=1, end_milliseconds=3000)
    assert timing.turn_told(done, Told(13, 13), tunnel_milliseconds=0) is not None
    assert timing.turn_told(TurnDone(turn=2, end_milliseconds=1000), Told(13, 13), tunnel_milliseconds=0) is None


def test_turns_without_a_text_are_not_awaited_for_ever() -> None:
    timing = spoken_for_three_seconds()
    for turn in range(100):
        timing.speech_started(SpeechStarted(turn=turn, audio_milliseconds=0))
    timing.turn_told(TurnDone(turn=99, end_milliseconds=0), Told(13, 13), tunnel_milliseconds=0)
    timing.speech_started(SpeechStarted(turn=100, audio_milliseconds=2000))
    assert timing.text_told(TextDelta(turn=100, text="a"), Told(13, 13), tunnel_milliseconds=0) is not None
