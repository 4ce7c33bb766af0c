"""How many clips go into a lane's batches, and why fewer than at first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.lanes.lane_types import StepDown


@dataclass(frozen=True, slots=True)
class _Halving:
    reason: str
    own_fault: bool
    suspects: frozenset[int]


class BatchSize:
    """A batch size that is halved when there was too little memory for it."""

    def __init__(self, size: int) -> None:
        """Raises ValueError below 1."""
        if size < 1:
            raise ValueError("a batch holds at least one clip")
        self._first = size
        self._halvings: list[_Halving] = []

    @property
    def size(self) -> int:
        return self._first >> len(self._halvings)

    @property
    def stepped_down(self) -> StepDown | None:
        """What the lane's own halvings alone would have left; None without any."""
        own = [halving for halving in self._halvings if halving.own_fault]
        return StepDown(self._first >> len(own), own[-1].reason) if own else None

    def halve(self, together: int, reason: str, *, own_fault: bool, suspects: frozenset[int] = frozenset()) -> bool:
        """Returns whether it did: not for a batch of `together` clips that was sent before the last halving.

        `own_fault`: nobody else on the Mac was the cause; `suspects`: clips that may have done it, each alone.
        """
        if self.size == 1 or together > self.size:
            return False
        self._halvings.append(_Halving(reason, own_fault, suspects))
        return True

    def explained_by(self, index: int) -> None:
        """The clip needs too much memory even alone: what it was suspected of says nothing about batches."""
        self._halvings = [
            halving for halving in self._halvings if not (halving.own_fault and index in halving.suspects)
        ]
