"""How a lane for batches gives way: it stands still, or its batches are smaller, while others need the Mac.

Only a child with batches in flight is told to pause, for only then somebody reads its answer. A child that gets its
batches later is told before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from voxfleet_agent.lane_protocol.session_messages import PauseBatches, ResumeBatches
from voxfleet_agent.lanes.child_process import ChildProcess


class GivingWay:
    """Serves one lane. `pause` and `resume` may be called at any time and wait for nothing."""

    def __init__(self) -> None:
        self.most_clips: Callable[[], int | None] = lambda: None
        """Says before each batch how many clips go to the child together at most; None: the lane's batch size."""
        self.changed: Callable[[bool], None] = lambda _: None
        """Told whether the lane stands still, whenever that changes."""
        self.step_ended: Callable[[int], None] = lambda _: None
        """Told the milliseconds of the step that had to end before the child paused."""
        self._paused = False
        self._in_flight: Callable[[], bool] | None = None
        """Whether the child has batches; None while the lane has no work."""
        self._child: ChildProcess | None = None
        self._child_is_told = False
        self._still = False
        self._loads = False

    @property
    def still(self) -> bool:
        """Whether the lane has work and does none of it, for it is paused; the step that ran then has ended."""
        return self._still

    def pause(self) -> None:
        """Batches stand still after the current step. A second call does nothing."""
        self._paused = True
        if self._in_flight is not None and self._in_flight() and self._child is not None:
            self._tell(self._child)
        self.look()

    def resume(self) -> None:
        """A second call does nothing."""
        self._paused = False
        if self._child is not None and self._child_is_told and self._child.alive:
            self._child.send(ResumeBatches())
        self._child_is_told = False
        self.look()

    def batch_size(self, size: int) -> int:
        """How many clips go to the child together, instead of `size`."""
        most = self.most_clips()
        return size if most is None else max(1, min(size, most))

    # For the lane itself

    def work_begins(self, in_flight: Callable[[], bool]) -> None:
        self._in_flight = in_flight
        self.look()

    def work_ends(self) -> None:
        self._in_flight = None
        self.look()

    @contextmanager
    def while_loading(self) -> Iterator[None]:
        """A child that is started and loads its model does so for its job, though the lane is paused."""
        self._loads = True
        self.look()
        try:
            yield
        finally:
            self._loads = False
            self.look()

    def before_batch(self, child: ChildProcess) -> None:
        """To be called before each batch that the child is sent."""
        if child is not self._child:
            self._child, self._child_is_told = child, False
            child.paused = self._child_paused
        if self._paused:
            self._tell(child)

    def look(self) -> None:
        """To be called when the child may have ended its batches, or has ended itself."""
        child = self._child
        held = child is not None and self._child_is_told and child.unanswered_pauses == 0
        in_flight = None if self._loads else self._in_flight
        still = self._paused and in_flight is not None and (held or not in_flight())
        if still != self._still:
            self._still = still
            self.changed(still)

    def _tell(self, child: ChildProcess) -> None:
        if not self._child_is_told and child.alive:
            child.unanswered_pauses += 1
            child.send(PauseBatches())
            self._child_is_told = True
            self.look()

    def _child_paused(self, step_milliseconds: int) -> None:
        if step_milliseconds:
            self.step_ended(step_milliseconds)
        self.look()


class YieldingLane(Protocol):
    """A lane for batches."""

    @property
    def name(self) -> str: ...

    @property
    def giving_way(self) -> GivingWay: ...
