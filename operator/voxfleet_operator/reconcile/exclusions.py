"""Machines that fail too often and therefore take no attempts for a while. Pure.

Failures in a row count, within an hour: any work that a machine delivers clears them. They have to be of two jobs at
least, so that a job which fails everywhere takes no machine from the others. Never more than half of the fleet is
excluded. Where more machines fail, the fault is hardly theirs, and other jobs must not wait for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from voxfleet_api.kinds.audio_shard import AttemptRecord, MachineIdentity

FAILURES = 5
JOBS = 2
"""Of how many jobs the failures have to be: one alone may be at fault itself."""
WINDOW_SECONDS = 3600.0
FIRST_SECONDS, LONGEST_SECONDS = 600.0, 3600.0
"""Each exclusion in a row is twice as long as the one before."""
PROBATION_SECONDS = 3600.0
"""For so long after an exclusion the next one begins as soon as two jobs have failed within the hour."""

Machine = MachineIdentity | str
"""A machine, or the name of a MacAgent that has not proven yet which machine it is."""


def machine_of(record: AttemptRecord) -> Machine:
    return record.machine or record.mac


@dataclass(frozen=True, slots=True)
class Exclusion:
    until_seconds: float
    """Monotonic."""
    failures: int
    """How many there were within the hour."""
    failure_class: str
    """Of the last one."""
    times: int
    """How often it was excluded in a row."""


@dataclass(slots=True)
class _History:
    failed: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=FAILURES))
    """When, and the UID of the job."""
    exclusion: Exclusion | None = None
    """The last one, also when it is over."""


class Exclusions:
    """In memory. MacAgent.status shows those that hold, and the next process takes them up from there.

    What it does not take up are failures that have not led to an exclusion yet, and an exclusion that is over.
    """

    def __init__(self) -> None:
        self._histories: dict[Machine, _History] = {}

    def __len__(self) -> int:
        return len(self._histories)

    def of(self, machine: Machine, now: float) -> Exclusion | None:
        """The one that holds now. `now`: monotonic seconds."""
        history = self._histories.get(machine)
        if history is None or history.exclusion is None or history.exclusion.until_seconds <= now:
            return None
        return history.exclusion

    def failed(self, machine: Machine, job_uid: str, failure_class: str, now: float, fleet_size: int) -> bool:
        """Counts a failure of the machine; returns whether it is excluded from now on.

        `fleet_size`: how many machines are in contact.
        """
        self.forget(now)
        history = self._histories.setdefault(machine, _History())
        history.failed.append((now, job_uid))
        if self.of(machine, now) is not None:
            return False  # by an attempt that ran before
        jobs = [job for then, job in history.failed if now - then < WINDOW_SECONDS]
        if len(set(jobs)) < JOBS or (len(jobs) < FAILURES and history.exclusion is None):
            return False
        others = sum(self.of(other, now) is not None for other in self._histories)
        if 2 * (others + 1) > fleet_size:
            return False
        times = 1 if history.exclusion is None else history.exclusion.times + 1
        length_seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(times - 1, 16))
        history.exclusion = Exclusion(now + length_seconds, len(jobs), failure_class, times)
        return True

    def succeeded(self, machine: Machine, now: float) -> bool:
        """Clears all that counts against the machine; returns whether it was excluded."""
        excluded = self.of(machine, now) is not None
        self._histories.pop(machine, None)
        return excluded

    def restore(self, machine: Machine, exclusion: Exclusion, now: float) -> None:
        """Takes up what the process before had decided, unless this one knows the machine better."""
        if machine not in self._histories and exclusion.until_seconds > now:
            bounded = replace(exclusion, until_seconds=min(exclusion.until_seconds, now + LONGEST_SECONDS))
            self._histories[machine] = _History(exclusion=bounded)

    def forget(self, now: float) -> None:
        """Forgets machines that have neither failed within the hour nor are excluded or on probation; to be called now
        and then, as no other failure may come."""
        for machine, history in list(self._histories.items()):
            last = max((then for then, _ in history.failed), default=float("-inf"))
            if history.exclusion is not None and now >= history.exclusion.until_seconds + PROBATION_SECONDS:
                history.exclusion = None
            if history.exclusion is None and now - last >= WINDOW_SECONDS:
                del self._histories[machine]
