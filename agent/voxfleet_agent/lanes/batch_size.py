"""The batch size of a lane, and why it is smaller than it was at first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.lanes.lane_types import StepDown


@dataclass(frozen=True, slots=True)
class _Halving:
    reason: str
    caused_by_lane: bool
    suspects: frozenset[int]


class BatchSize:
    """A batch size that is halved whenever memory is too short for it."""

    def __init__(self, size: int) -> None:
        """Raises ValueError below 1."""
        if size < 1:
            raise ValueError("a batch holds at least one clip")
        self._initial = size
        self._halvings: list[_Halving] = []

    @property
    def size(self) -> int:
        return self._initial >> len(self._halvings)

    @property
    def stepped_down(self) -> StepDown | None:
        """The size after only the halvings that the lane itself caused, and why; None when it caused none."""
        own = [halving for halving in self._halvings if halving.caused_by_lane]
        return StepDown(self._initial >> len(own), own[-1].reason) if own else None

    def halve(
        self, sent_batch_size: int, reason: str, *, caused_by_lane: bool, suspects: frozenset[int] = frozenset()
    ) -> bool:
        """Halves the size and returns True, unless it is 1 or the batch was sent before the last halving.

        `sent_batch_size`: the batch size when the batch was sent. `caused_by_lane`: whether the lane itself was the
        cause, and no other process on the Mac. `suspects`: clips any one of which may be the sole cause.
        """
        if self.size == 1 or sent_batch_size > self.size:
            return False
        self._halvings.append(_Halving(reason, caused_by_lane, suspects))
        return True

    def undo_halvings_caused_by(self, index: int) -> None:
        """Undoes the halvings that this clip may have caused, because it needs too much memory even alone."""
        self._halvings = [
            halving for halving in self._halvings if not (halving.caused_by_lane and index in halving.suspects)
        ]
