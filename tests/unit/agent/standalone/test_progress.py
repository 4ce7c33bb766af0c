"""Progress lines where there is no terminal."""

from __future__ import annotations

import io

from voxfleet_agent.standalone.progress import MAX_GAP_SECONDS, ProgressBar, ProgressLines, progress_reporter


def test_a_line_at_every_tenth_and_after_silence() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = ProgressLines(stream, lambda: now[0])
    for done in range(101):
        lines.clips("Process", done, 100)
    said = stream.getvalue().splitlines()
    assert said == [f"Process: {done} of 100 clips" for done in range(0, 101, 10)]
    lines.clips("Process", 100, 100)
    now[0] = MAX_GAP_SECONDS
    lines.clips("Process", 100, 100)
    assert len(stream.getvalue().splitlines()) == len(said) + 1


def test_a_new_stage_begins_with_a_line() -> None:
    stream = io.StringIO()
    lines = ProgressLines(stream, lambda: 0.0)
    lines.clips("Plan", 1, 1000)
    lines.clips("Process", 1, 1000)
    assert stream.getvalue().splitlines() == ["Plan: 1 of 1000 clips", "Process: 1 of 1000 clips"]


def test_a_bar_is_for_terminals() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(progress_reporter(Terminal()), ProgressBar) and isinstance(
        progress_reporter(io.StringIO()), ProgressLines
    )
