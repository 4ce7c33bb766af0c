"""What is still to do of the clips that a lane was given, and in whose company. No I/O, no clock."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from voxfleet_agent.lanes.child_exits import Blame, ChildEnd
from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask
from voxfleet_api.failures import FailureClass

MAX_DEATHS_ALONE = 2
MAX_ACCUSED = 2
"""Clips that may have ended children alone with nothing heard since: with one more it is the Mac."""
MAX_DEATHS_IN_A_ROW = 32
"""Without a verdict between them. Beyond that it is the machine, not the clips."""


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch in the child's hands."""

    number: int
    clips: tuple[ClipTask, ...]
    together: int
    """The batch size at that time."""


@dataclass(frozen=True, slots=True)
class PoisonClip:
    """A clip that is given to no child again, and the last end that it brought about."""

    clip: ClipTask
    end: ChildEnd


@dataclass(slots=True)
class _InFlight:
    open: dict[int, ClipTask]
    """Clips without verdict, by index."""
    isolated: bool
    together: int


@dataclass(slots=True)
class ClipQueue:
    """Every clip is waiting, suspected, in flight, or accused, until its verdict.

    A suspect is given to a child alone and with nothing beside it. Not by halves: an inference costs milliseconds and
    a death costs a new process with its model, so one clip at a time finds the one at fault with the fewest deaths.

    A clip that makes the GPU fail is accused: only when another clip is heard after it, or at least a fresh child
    works when there is no other, is it the clip's fault and not the Mac's.
    """

    _waiting: deque[tuple[ClipTask, ...]] = field(default_factory=deque)
    _suspects: deque[ClipTask] = field(default_factory=deque)
    _in_flight: dict[int, _InFlight] = field(default_factory=dict)
    _deaths_alone: dict[int, tuple[FailureClass, ...]] = field(default_factory=dict)
    """That a clip may have brought about."""
    _kills_alone: Counter[int] = field(default_factory=Counter)
    """That it cannot."""
    _accused: list[PoisonClip] = field(default_factory=list)
    _culprits: list[PoisonClip] = field(default_factory=list)
    _deaths_in_a_row: int = 0
    _number: int = 0

    @property
    def idle(self) -> bool:
        """Nothing is in flight."""
        return not self._in_flight

    @property
    def empty(self) -> bool:
        return not (self._in_flight or self._waiting or self._suspects or self._accused)

    @property
    def needs_check(self) -> bool:
        """Clips are accused and there is no other to try: whether a fresh child works tells who is at fault."""
        return bool(self._accused) and not (self._in_flight or self._waiting or self._suspects)

    @property
    def wants_more(self) -> bool:
        return not (self._waiting or self._suspects or self._isolating) and len(self._in_flight) < LANE_BATCHES

    @property
    def stormy(self) -> bool:
        """More deaths in a row than clips can explain."""
        return self._deaths_in_a_row > MAX_DEATHS_IN_A_ROW

    @property
    def _isolating(self) -> bool:
        return any(flight.isolated for flight in self._in_flight.values())

    def deaths_alone(self, index: int) -> tuple[FailureClass, ...]:
        """What children met that ended on this clip alone, in order."""
        return self._deaths_alone.get(index, ())

    def in_flight(self, index: int) -> ClipTask | None:
        return next((flight.open[index] for flight in self._in_flight.values() if index in flight.open), None)

    def together(self, indexes: Collection[int]) -> int:
        """The largest batch size that one of these clips in flight was sent with."""
        return max(
            (flight.together for flight in self._in_flight.values() if not flight.open.keys().isdisjoint(indexes)),
            default=1,
        )

    def add(self, clips: Sequence[ClipTask]) -> None:
        if clips:
            self._waiting.append(tuple(clips))

    def next(self, batch_size: int) -> SentBatch | None:
        """The batch to send now, at most `batch_size` clips; None when the child has enough."""
        if self._isolating or len(self._in_flight) >= LANE_BATCHES:
            return None
        if self._suspects and not (self._accused and self._waiting):  # who was at no death shows best what works
            return None if self._in_flight else self._send((self._suspects.popleft(),), batch_size, isolated=True)
        if not self._waiting:
            return None
        clips = self._waiting.popleft()
        if len(clips) > batch_size:
            self._waiting.appendleft(clips[batch_size:])
        return self._send(clips[:batch_size], batch_size, isolated=False)

    def settle(self, index: int, *, heard: bool) -> ClipTask | None:
        """A verdict came; returns its clip. None: for one that is not in flight. `heard`: the model did its work."""
        self._deaths_in_a_row = 0
        if heard:
            self.works()
        for flight in self._in_flight.values():
            clip = flight.open.pop(index, None)
            if clip is not None:
                return clip
        return None

    def close(self, number: int) -> int | None:
        """The batch is done; returns the batch size that it was sent with.

        None: it is not in flight, or has clips without verdict.
        """
        flight = self._in_flight.get(number)
        if flight is None or flight.open:
            return None
        del self._in_flight[number]
        return flight.together

    def works(self) -> None:
        """A child did its work on something else: the accused are at fault."""
        self._culprits += self._accused
        self._accused.clear()

    def culprits(self) -> list[PoisonClip]:
        """Those that became certain since the last call."""
        culprits, self._culprits = self._culprits, []
        return culprits

    def died(self, touched: Collection[int], end: ChildEnd) -> bool:
        """The child died with the clips `touched` in its hands.

        A clip that has now died alone twice is given to no child again, all others are. Returns whether nothing but
        the Mac explains it.
        """
        self._deaths_in_a_row += 1
        lost = [clip for flight in self._in_flight.values() for clip in flight.open.values()]
        self._in_flight.clear()
        suspects = [clip for clip in lost if clip.index in touched]
        innocent = tuple(clip for clip in lost if clip.index not in touched)
        if innocent:
            self._waiting.appendleft(innocent)
        if len(suspects) == 1 and self._died_alone(suspects[0], end):
            return end.blame is Blame.MAC or len(self._accused) > MAX_ACCUSED
        self._suspects.extend(suspects)
        return False

    def _died_alone(self, clip: ClipTask, end: ChildEnd) -> bool:
        """Whether it was once too often."""
        if end.blame is Blame.MAC:
            self._kills_alone[clip.index] += 1
            return self._kills_alone[clip.index] >= MAX_DEATHS_ALONE
        self._deaths_alone[clip.index] = (*self.deaths_alone(clip.index), end.failure_class)
        if len(self._deaths_alone[clip.index]) < MAX_DEATHS_ALONE:
            return False
        (self._culprits if end.blame is Blame.CLIP else self._accused).append(PoisonClip(clip, end))
        return True

    def _send(self, clips: tuple[ClipTask, ...], together: int, *, isolated: bool) -> SentBatch:
        self._number += 1
        self._in_flight[self._number] = _InFlight({clip.index: clip for clip in clips}, isolated, together)
        return SentBatch(self._number, clips, together)
