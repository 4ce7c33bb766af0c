"""Progress of a run: lines where there is no terminal, a bar where there is one, and the time that is left."""

from __future__ import annotations

import io

import pytest

from voxfleet_agent.standalone.progress import (
    MAX_GAP_SECONDS,
    REFRESH_SECONDS,
    ProgressBar,
    ProgressLines,
    StageProgress,
    TimeLeft,
    clock_text,
    left_text,
    progress_reporter,
)

HOUR = 3_600_000


class Log:
    """The lines of a run and the clock that they go by."""

    def __init__(self) -> None:
        self.now_seconds = 0.0
        self._stream = io.StringIO()
        self.lines = ProgressLines(self._stream, lambda: self.now_seconds)

    @property
    def said(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    def wait(self, seconds: float) -> None:
        """Refreshes as a run does."""
        for _ in range(round(seconds / REFRESH_SECONDS)):
            self.now_seconds += REFRESH_SECONDS
            self.lines.refresh()


def test_a_line_at_every_tenth() -> None:
    log = Log()
    for done in range(101):
        log.lines.show(StageProgress("Process", done, 100))
    assert log.said == [f"Process: {done} of 100 clips" for done in range(0, 101, 10)]


@pytest.mark.parametrize("step_at_seconds", [0, 3, 9, 60])
def test_a_step_within_a_long_clip_shows_within_ten_seconds(step_at_seconds: float) -> None:
    log = Log()
    log.lines.show(StageProgress("Process", 0, 1, 0, HOUR))
    log.wait(step_at_seconds)
    assert log.said == ["Process: 0 of 1 clip, 0:00 of 1:00:00 of audio"]
    log.lines.show(StageProgress("Process", 0, 1, 27_000, HOUR))
    log.lines.say("another line in between holds nothing back")
    log.wait(MAX_GAP_SECONDS)
    assert "Process: 0 of 1 clip, 0:27 of 1:00:00 of audio" in log.said


def test_nothing_is_said_again_while_nothing_moves() -> None:
    log = Log()
    for _ in range(3):
        log.lines.show(StageProgress("Process", 5, 100))
        log.wait(100)
    assert log.said == ["Process: 5 of 100 clips"]


def test_a_new_stage_begins_with_a_line() -> None:
    log = Log()
    log.lines.show(StageProgress("Plan", 1, 1000))
    log.lines.show(StageProgress("Process", 1, 1000))
    assert log.said == ["Plan: 1 of 1000 clips", "Process: 1 of 1000 clips"]


def test_the_time_left_follows_the_audio_and_not_the_clips() -> None:
    """Ten minutes in 99 clips, then 50 in one: after the 99, most is still to come. Loading took a minute."""
    log = Log()
    log.lines.show(StageProgress("Process", 0, 100, 0, HOUR))
    log.now_seconds = 60
    log.lines.show(StageProgress("Process", 1, 100, 60_000, HOUR))
    log.now_seconds = 69
    log.lines.show(StageProgress("Process", 99, 100, 600_000, HOUR))
    assert log.said[-1] == "Process: 99 of 100 clips, 10:00 of 1:00:00 of audio, 0:50 left"


@pytest.mark.parametrize(
    ("steps", "asked_at_seconds", "left_seconds"),
    [
        ([(0, 0)], 5, None),
        ([(0, 0), (60, 100)], 60, None),  # how long the first step took, with the model's loading, tells nothing
        ([(0, 0), (60, 100), (61, 200)], 61, 8),
        ([(0, 0), (60, 100), (61, 200)], 66, 3),  # it runs down between two steps
        ([(0, 0), (60, 100), (61, 200)], 99, 0),
        ([(0, 500), (1, 500), (60, 600), (62, 700)], 62, 6),  # what an earlier run did does not count as speed
        ([(0, 0), (1, 500), (2, 1000)], 2, 0),
    ],
)
def test_the_time_left(steps: list[tuple[float, int]], asked_at_seconds: float, left_seconds: float | None) -> None:
    left = TimeLeft()
    for at_seconds, milliseconds in steps:
        left.update(StageProgress("Process", 0, 3, milliseconds, 1000), at_seconds)
    assert left.seconds(asked_at_seconds) == left_seconds


@pytest.mark.parametrize(("milliseconds", "text"), [(0, "0:00"), (61_999, "1:01"), (3_600_000, "1:00:00")])
def test_the_clock(milliseconds: int, text: str) -> None:
    assert clock_text(milliseconds) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_for_terminals() -> None:
    assert isinstance(progress_reporter(Terminal()), ProgressBar)
    assert isinstance(progress_reporter(io.StringIO()), ProgressLines)


def test_a_bar_shows_audio_and_the_time_that_is_left() -> None:
    steps, terminal = ((0.0, 0), (60.0, 600_000), (61.0, 1_200_000)), Terminal()
    now_seconds = [0.0]
    with ProgressBar(terminal, lambda: now_seconds[0]) as bar:
        for at_seconds, milliseconds in steps:
            now_seconds[0] = at_seconds
            bar.show(StageProgress("Process", 0, 1, milliseconds, HOUR))
    shown = terminal.getvalue()
    assert "20:00 of 1:00:00 of audio" in shown and "0:04 left" in shown


def test_less_than_a_second_left_is_not_told() -> None:
    log = Log()
    for done in range(0, 101, 10):
        log.lines.show(StageProgress("Plan", done, 100))
        log.now_seconds += 0.05
    assert not any("left" in line for line in log.said)
    assert (left_text(0.99), left_text(1), left_text(61)) == ("", "0:01 left", "1:01 left")
