"""When samples passed a point on their way. Pure, and bounded."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_MERGED_SECONDS = 0.02
"""Samples that came within so little time of each other share a mark."""


class _Mark(NamedTuple):
    first_sample: int
    end_sample: int
    seconds: float


class SampleTimes:
    """Samples are counted from the first one of the session."""

    def __init__(self, *, most_marks: int) -> None:
        self._marks: deque[_Mark] = deque(maxlen=most_marks)
        self._end_sample = 0

    @property
    def samples(self) -> int:
        """How many have passed."""
        return self._end_sample

    def passed(self, samples: int, now_seconds: float) -> None:
        """So many more samples passed."""
        if samples <= 0:
            return
        first_sample, self._end_sample = self._end_sample, self._end_sample + samples
        if self._marks and now_seconds - self._marks[-1].seconds <= _MERGED_SECONDS:
            self._marks[-1] = self._marks[-1]._replace(end_sample=self._end_sample)
            return
        self._marks.append(_Mark(first_sample, self._end_sample, now_seconds))

    def time_of(self, sample: int) -> float | None:
        """In seconds; None for a sample that has not passed, or whose mark is gone.

        It is at most 20 ms too early.
        """
        for mark in reversed(self._marks):
            if mark.first_sample <= sample:
                return mark.seconds if sample < mark.end_sample else None
        return None

    def forget_before(self, sample: int) -> None:
        while self._marks and self._marks[0].end_sample <= sample:
            self._marks.popleft()
