"""Answers that hold for a while, of which only so many are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentAnswers(Generic[K, V]):
    """`clock` is monotonic, in seconds. The oldest go first."""

    def __init__(self, max_answers: int, hold_seconds: float, clock: Callable[[], float]) -> None:
        self._max_answers = max_answers
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._answers: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, question: K) -> V | None:
        known = self._answers.get(question)
        if known is None:
            return None
        until_seconds, answer = known
        if until_seconds <= self._clock():
            del self._answers[question]
            return None
        return answer

    def put(self, question: K, answer: V) -> None:
        self._answers.pop(question, None)
        self._answers[question] = (self._clock() + self._hold_seconds, answer)
        if len(self._answers) > self._max_answers:
            self._answers.popitem(last=False)
