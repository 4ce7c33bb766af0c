"""Which clips of a lane's batches are still to do, and which of them go to the child together. No I/O, no clock."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from voxfleet_agent.lanes.child_exits import Blame, ChildEnd
from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask
from voxfleet_api.failures import FailureClass

MAX_DEATHS_ALONE = 2
MAX_GPU_FAULT_SUSPECTS = 2
"""The most clips on which the GPU may fail twice while no other clip is inferred. Beyond it, the Mac is at fault."""
MAX_DEATHS_IN_A_ROW = 32
"""The most deaths without a verdict between them. Beyond it, the machine is at fault, not the clips."""


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch for the child to work on."""

    number: int
    clips: tuple[ClipTask, ...]
    batch_size: int
    """The lane's batch size when the batch was sent."""


@dataclass(frozen=True, slots=True)
class PoisonClip:
    """A clip that no child gets again, and how the last child on it ended."""

    clip: ClipTask
    end: ChildEnd


@dataclass(slots=True)
class _InFlight:
    open: dict[int, ClipTask]
    """Clips without verdict, by index."""
    isolated: bool
    batch_size: int


@dataclass(slots=True)
class ClipQueue:
    """Until its verdict, every clip is waiting, in flight, a suspect, or a suspect after GPU faults.

    A suspect was being worked on when a child died. The next child gets it alone, with no other batch in flight.
    Suspects are not bisected: an inference costs milliseconds and a death costs a new process that loads the model, so
    trying one clip at a time finds the clip at fault with the fewest deaths.

    A clip on which the GPU failed twice is a suspect after GPU faults. It becomes poison only when the model infers
    another clip afterwards, or, when there is no other clip, when a fresh child works. Else the Mac may be at fault.
    """

    _waiting: deque[tuple[ClipTask, ...]] = field(default_factory=deque)
    _suspects: deque[ClipTask] = field(default_factory=deque)
    _in_flight: dict[int, _InFlight] = field(default_factory=dict)
    _deaths_alone: dict[int, tuple[FailureClass, ...]] = field(default_factory=dict)
    """By clip index: how the children ended that worked on only this clip, if the clip can be at fault."""
    _mac_deaths_alone: Counter[int] = field(default_factory=Counter)
    """By clip index: how many children ended while working on only this clip, if only the Mac can be at fault."""
    _gpu_fault_suspects: list[PoisonClip] = field(default_factory=list)
    _new_poison: list[PoisonClip] = field(default_factory=list)
    _deaths_in_a_row: int = 0
    _last_number: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._in_flight

    @property
    def empty(self) -> bool:
        return not (self._in_flight or self._waiting or self._suspects or self._gpu_fault_suspects)

    @property
    def needs_fresh_child(self) -> bool:
        """Whether only suspects after GPU faults remain; a fresh child then shows whether the Mac is at fault."""
        return bool(self._gpu_fault_suspects) and not (self._in_flight or self._waiting or self._suspects)

    @property
    def wants_more(self) -> bool:
        return not (self._waiting or self._suspects or self._isolating) and len(self._in_flight) < LANE_BATCHES

    @property
    def too_many_deaths(self) -> bool:
        """Whether there were more deaths in a row than clips can explain."""
        return self._deaths_in_a_row > MAX_DEATHS_IN_A_ROW

    @property
    def _isolating(self) -> bool:
        return any(flight.isolated for flight in self._in_flight.values())

    def deaths_alone(self, index: int) -> tuple[FailureClass, ...]:
        """How the children ended that worked on only this clip, in order."""
        return self._deaths_alone.get(index, ())

    def in_flight(self, index: int) -> ClipTask | None:
        return next((flight.open[index] for flight in self._in_flight.values() if index in flight.open), None)

    def largest_batch_size(self, indexes: Collection[int]) -> int:
        """The largest batch size with which one of these clips in flight was sent; 1 when none is in flight."""
        return max(
            (flight.batch_size for flight in self._in_flight.values() if not flight.open.keys().isdisjoint(indexes)),
            default=1,
        )

    def add(self, clips: Sequence[ClipTask]) -> None:
        if clips:
            self._waiting.append(tuple(clips))

    def next_batch(self, batch_size: int) -> SentBatch | None:
        """The batch to send now, at most `batch_size` clips; None when the child has enough."""
        if self._isolating or len(self._in_flight) >= LANE_BATCHES:
            return None
        # A clip that no child died on shows best whether the GPU works.
        if self._suspects and not (self._gpu_fault_suspects and self._waiting):
            return (
                None if self._in_flight else self._put_in_flight((self._suspects.popleft(),), batch_size, isolated=True)
            )
        if not self._waiting:
            return None
        clips = self._waiting.popleft()
        if len(clips) > batch_size:
            self._waiting.appendleft(clips[batch_size:])
        return self._put_in_flight(clips[:batch_size], batch_size, isolated=False)

    def verdict_received(self, index: int, *, inferred: bool) -> ClipTask | None:
        """Returns the clip, which now has its verdict; None if it is not in flight. `inferred`: the model ran on it."""
        self._deaths_in_a_row = 0
        if inferred:
            self.confirm_poison()
        for flight in self._in_flight.values():
            clip = flight.open.pop(index, None)
            if clip is not None:
                return clip
        return None

    def batch_done(self, number: int) -> int | None:
        """Returns the batch size with which the batch was sent; None when it is not in flight or lacks verdicts."""
        flight = self._in_flight.get(number)
        if flight is None or flight.open:
            return None
        del self._in_flight[number]
        return flight.batch_size

    def confirm_poison(self) -> None:
        """Turns the suspects after GPU faults into poison, now that the GPU has worked without them."""
        self._new_poison += self._gpu_fault_suspects
        self._gpu_fault_suspects.clear()

    def pop_new_poison(self) -> list[PoisonClip]:
        """The clips that were found to be poison since the last call."""
        poison, self._new_poison = self._new_poison, []
        return poison

    def child_died(self, active: Collection[int], end: ChildEnd) -> bool:
        """Handles the death of a child that worked on the clips `active`; returns whether only the Mac can be at fault.

        After two children have died while working on only one clip, no child gets it again. All other clips are
        sent again.
        """
        self._deaths_in_a_row += 1
        lost = [clip for flight in self._in_flight.values() for clip in flight.open.values()]
        self._in_flight.clear()
        suspects = [clip for clip in lost if clip.index in active]
        innocent = tuple(clip for clip in lost if clip.index not in active)
        if innocent:
            self._waiting.appendleft(innocent)
        if len(suspects) == 1 and self._too_many_deaths_alone(suspects[0], end):
            return end.blame is Blame.MAC or len(self._gpu_fault_suspects) > MAX_GPU_FAULT_SUSPECTS
        self._suspects.extend(suspects)
        return False

    def _too_many_deaths_alone(self, clip: ClipTask, end: ChildEnd) -> bool:
        """Counts the death of a child that worked on only this clip; returns whether it was one too many."""
        if end.blame is Blame.MAC:
            self._mac_deaths_alone[clip.index] += 1
            return self._mac_deaths_alone[clip.index] >= MAX_DEATHS_ALONE
        self._deaths_alone[clip.index] = (*self.deaths_alone(clip.index), end.failure_class)
        if len(self._deaths_alone[clip.index]) < MAX_DEATHS_ALONE:
            return False
        (self._new_poison if end.blame is Blame.CLIP else self._gpu_fault_suspects).append(PoisonClip(clip, end))
        return True

    def _put_in_flight(self, clips: tuple[ClipTask, ...], batch_size: int, *, isolated: bool) -> SentBatch:
        self._last_number += 1
        self._in_flight[self._last_number] = _InFlight({clip.index: clip for clip in clips}, isolated, batch_size)
        return SentBatch(self._last_number, clips, batch_size)
