"""Machines in contact that have no room for what placement gives them, again and again. Pure.

Such an answer costs no retry, and so it may be given for ever: each time in a row the machine is left alone for longer,
and from REFUSALS on its MacAgent and the jobs that wait name it. Only an attempt that it takes shows that it has room.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_operator.reconcile.exclusions import Machine

REFUSALS = 5
"""In a row; with their pauses about half a minute, in which an agent that starts anew is back."""
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 300.0
"""Each pause is twice as long as the one before. The longest is what a Mac that has room again may idle at most."""
ASKED_LONGEST_SECONDS = 600.0
FORGET_SECONDS = 3600.0
"""After so long without another refusal nobody knows any more whether it has room."""


@dataclass(frozen=True, slots=True)
class Refusing:
    refusals: int
    """In a row. Those during a pause, of attempts that were on their way, count as one with the refusal before it."""
    status: int
    """The HTTP status of the last one."""
    message: str
    at_seconds: float
    """Monotonic."""
    until_seconds: float
    """Until when it gets nothing more; monotonic."""

    @property
    def is_shown(self) -> bool:
        """Whether people are told: a Mac that is full for a moment is nobody's concern."""
        return self.refusals >= REFUSALS


class RefusingMacs:
    """In memory: the next process finds anew what refuses."""

    def __init__(self) -> None:
        self._known: dict[Machine, Refusing] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, machine: Machine, now: float) -> Refusing | None:
        """What holds now, be its pause over or not. `now`: monotonic seconds."""
        known = self._known.get(machine)
        return None if known is None or now - known.at_seconds >= FORGET_SECONDS else known

    def refused(self, machine: Machine, status: int, message: str, now: float, asked_seconds: float = 0.0) -> Refusing:
        """Counts an answer that the machine has no room. `asked_seconds`: how long it asks to be left alone."""
        self.forget(now)
        before = self._known.get(machine)
        if before is not None and now < before.until_seconds:
            return before
        refusals = 1 if before is None else before.refusals + 1
        pause_seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(refusals - 1, 16))
        until_seconds = now + min(ASKED_LONGEST_SECONDS, max(asked_seconds, pause_seconds))
        self._known[machine] = Refusing(refusals, status, message, now, until_seconds)
        return self._known[machine]

    def forget(self, now: float) -> None:
        """Forgets what is an hour old; to be called now and then, as no other refusal may come."""
        for machine in [machine for machine in self._known if self.of(machine, now) is None]:
            del self._known[machine]

    def took(self, machine: Machine, at_seconds: float) -> bool:
        """Takes that the machine took an attempt at that moment; returns whether it was shown as one that refuses."""
        known = self._known.get(machine)
        if known is None or at_seconds < known.at_seconds:
            return False
        del self._known[machine]
        return known.is_shown
