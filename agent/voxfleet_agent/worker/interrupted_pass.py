"""Lets others go on between two windows of a session's pass, as between those of a batch's clip."""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_agent.worker.long_step import Reached
from voxfleet_agent.worker.step_order import StepKind
from voxfleet_api.failures import FailureClass, VoxFleetError

Attend = Callable[[int, StepKind], int]
"""Attends to others than the session of this number, to steps of this kind at the latest; returns how many nanoseconds
went to them."""


def nobody_else(number: int, latest: StepKind) -> int:
    """For a session that is alone with the model."""
    return 0


class InterruptedPasses:
    """Of one session."""

    def __init__(self, number: int, latest: StepKind, attend: Attend) -> None:
        """`latest`: the least urgent steps of others that may come in between."""
        self._number = number
        self._latest = latest
        self._attend = attend
        self._away_ns = 0
        self.cancelled = False
        """The session was closed: its pass is to end at once."""

    def take_away_ns(self) -> int:
        """How long others were attended to since the last call."""
        away_ns, self._away_ns = self._away_ns, 0
        return away_ns

    def between(self, reached: Reached, audio_milliseconds: int) -> Reached:
        """What a pass over so much audio calls between its windows. It raises VoxFleetError to end the pass."""

        def told(milliseconds: int) -> None:
            reached(milliseconds)
            if milliseconds >= audio_milliseconds:
                return
            away_ns = self._attend(self._number, self._latest)
            if self.cancelled:
                raise VoxFleetError(FailureClass.INFERENCE_ERROR, "the session was cancelled")
            if away_ns:
                self._away_ns += away_ns
                reached(milliseconds)  # a step of another may have told that the long step is over

        return told
