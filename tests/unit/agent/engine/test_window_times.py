"""Windows become one transcript whose times lie in the clip."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.window_times import join_windows
from voxfleet_api.rows import TimedText


def timed(start: int, end: int, text: str) -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


def test_windows_are_joined_with_their_times_moved() -> None:
    first = Transcript("hello", (timed(100, 400, "hello"),), language="en")
    silence = Transcript("", ())
    last = Transcript("world", (timed(0, 300, "world"),), language="de")
    whole = join_windows([(0, first), (1000, silence), (2000, last)], 3000)
    assert (whole.text, whole.language) == ("hello world", "en")
    assert whole.segments == (timed(100, 400, "hello"), timed(2000, 2300, "world"))
    assert whole.words is None


def test_no_time_lies_behind_its_window_or_the_audio() -> None:
    first = Transcript("stop now", (timed(0, 5300, "stop now"),), (timed(0, 900, "stop"), timed(1020, 5300, "now")))
    last = Transcript("go", (timed(40, 700, "go"),), (timed(40, 700, "go"),))
    whole = join_windows([(0, first), (1000, last)], 1672)
    assert whole.segments == (timed(0, 1000, "stop now"), timed(1040, 1672, "go"))
    assert whole.words == (timed(0, 900, "stop"), timed(1000, 1000, "now"), timed(1040, 1672, "go"))


def test_a_window_without_times_takes_its_whole_time_and_the_others_keep_theirs() -> None:
    first = Transcript("one two", (timed(100, 900, "one two"),), (timed(100, 400, "one"), timed(500, 900, "two")))
    untimed = Transcript("six four")
    wordless = Transcript("ten", (timed(200, 700, "ten"),))
    whole = join_windows([(0, first), (1000, untimed), (2000, Transcript("", (), ())), (3000, wordless)], 4000)
    assert whole.segments == (timed(100, 900, "one two"), timed(1000, 2000, "six four"), timed(3200, 3700, "ten"))
    assert whole.words is not None and whole.words[2:] == (
        timed(1000, 1429, "six"),
        timed(1429, 2000, "four"),
        timed(3200, 3700, "ten"),
    )


def test_a_model_without_times_has_none_in_any_window() -> None:
    whole = join_windows([(0, Transcript("one")), (1000, Transcript("")), (2000, Transcript("two"))], 3000)
    assert (whole.text, whole.segments, whole.words) == ("one two", None, None)


def test_a_clip_in_one_piece_keeps_its_transcript() -> None:
    only = Transcript("hello", None, None, "en", token_limit_reached=True)
    assert join_windows([(0, only)], 400) == only


WINDOWS = st.lists(
    st.tuples(st.integers(1, 5000), st.lists(st.integers(0, 9000), min_size=2, max_size=8)), min_size=1, max_size=5
)


@given(WINDOWS)
def test_times_never_go_back_across_windows(windows: list[tuple[int, list[int]]]) -> None:
    start, given_windows = 0, []
    for length, times in windows:
        spans = tuple(timed(begin, end, "w") for begin, end in pairwise(sorted(times)))
        given_windows.append((start, Transcript("w", spans, spans)))
        start += length
    whole = join_windows(given_windows, start)
    for spans in (whole.segments or (), whole.words or ()):
        assert all(0 <= span.start_milliseconds <= span.end_milliseconds <= start for span in spans)
        assert all(one.end_milliseconds <= two.start_milliseconds for one, two in pairwise(spans))
