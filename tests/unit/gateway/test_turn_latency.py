from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.session_protocol import LatencyKind
from voxfleet_gateway.turn_latency import Playback, TurnStamps, turn_measured

pytestmark = pytest.mark.unit

instants = st.floats(min_value=0, max_value=1e6)
milliseconds = st.integers(min_value=0, max_value=100_000)


def test_each_part_is_what_its_stamps_enclose() -> None:
    measured = turn_measured(
        LatencyKind.FINAL_TEXT,
        TurnStamps(began_seconds=10.0, sent_seconds=10.003, told_seconds=10.803, written_seconds=10.805),
        tunnel_milliseconds=40,
        infer_milliseconds=200,
    )
    assert measured.total_milliseconds == 805
    assert measured.gateway_milliseconds == 5
    assert measured.tunnel_milliseconds == 40
    assert measured.infer_milliseconds == 200
    assert measured.wait_milliseconds == 560


def test_a_session_that_was_opened_for_a_text_took_another_round_trip() -> None:
    measured = turn_measured(
        LatencyKind.FIRST_AUDIO,
        TurnStamps(began_seconds=0, sent_seconds=0, told_seconds=0.5, written_seconds=0.5),
        tunnel_milliseconds=40,
        infer_milliseconds=300,
        round_trips=2,
        stalls=3,
    )
    assert (measured.tunnel_milliseconds, measured.wait_milliseconds, measured.stalls) == (80, 120, 3)


def test_a_line_written_before_the_upload_ended_took_no_time() -> None:
    measured = turn_measured(
        LatencyKind.UPLOADED_TEXT,
        TurnStamps(began_seconds=9, sent_seconds=9.1, told_seconds=5, written_seconds=5.1),
        tunnel_milliseconds=1,
        infer_milliseconds=900,
    )
    assert measured.total_milliseconds == 0


@given(instants, instants, instants, instants, milliseconds, milliseconds, st.integers(min_value=1, max_value=2))
def test_the_parts_add_up_to_the_total(
    began: float, sent: float, told: float, written: float, tunnel: int, infer: int, round_trips: int
) -> None:
    measured = turn_measured(
        LatencyKind.FINAL_TEXT,
        TurnStamps(began, sent, told, written),
        tunnel_milliseconds=tunnel,
        infer_milliseconds=infer,
        round_trips=round_trips,
    )
    parts = (
        measured.gateway_milliseconds,
        measured.tunnel_milliseconds,
        measured.wait_milliseconds,
        measured.infer_milliseconds,
    )
    assert sum(parts) == measured.total_milliseconds
    assert measured.infer_milliseconds <= infer


def test_a_chunk_is_a_stall_when_playback_needed_it_earlier() -> None:
    playback = Playback()
    for awaited, came, stalls in ((0.0, 1.0, 0), (1.0, 1.9, 0), (1.9, 3.5, 1), (3.5, 4.5, 1), (4.5, 5.6, 2)):
        playback = playback.with_chunk(awaited_seconds=awaited, came_seconds=came, audio_seconds=1.0)
        assert playback.stalls == stalls


def test_a_listener_that_reads_late_makes_no_stall() -> None:
    playback = Playback().with_chunk(awaited_seconds=0, came_seconds=1, audio_seconds=1)
    late = playback.with_chunk(awaited_seconds=60, came_seconds=60, audio_seconds=1)
    assert late.stalls == 0
    assert late.with_chunk(awaited_seconds=60, came_seconds=60.9, audio_seconds=1).stalls == 0


@given(st.lists(st.floats(min_value=0.01, max_value=5), min_size=1, max_size=20))
def test_chunks_as_fast_as_they_are_long_never_stall(lengths: list[float]) -> None:
    playback, now = Playback(), 0.0
    for length in lengths:
        playback = playback.with_chunk(awaited_seconds=now, came_seconds=now, audio_seconds=length)
        now += length / 2
    assert playback.stalls == 0
