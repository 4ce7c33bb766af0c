"""How long ago the API server last answered the watches and lists, and when that is too long. Pure.

kopf cuts a stream on which nothing comes for 70 s, and the API server ends each after WATCH_SECONDS. So a watch that is
well is begun anew at least that often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

WATCH_SECONDS = 300
"""An integer, as kopf puts it into the URL unchanged."""
RELIST_SECONDS = 300.0
LATE_SECONDS = 90.0
"""So much later than it should be, the next answer is missed: an API server that is restarted takes less."""
NO_ANSWER = "none"


class WatchHealth:
    """`clock` is monotonic, in seconds. The thread of the watches writes, the main loop reads."""

    def __init__(self, resources: Iterable[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began_seconds = clock()
        self._answered_seconds = dict.fromkeys(resources, self._began_seconds)
        self._listed_seconds: float | None = None
        self.starts: Counter[tuple[str, str]] = Counter()
        """Watches begun, by resource and status of the answer."""
        self.missed: Counter[str] = Counter()
        """Changes that a list found and no watch had told, by resource."""

    def watch_answered(self, resource: str, status: int | None) -> None:
        """None: there was no answer."""
        if resource not in self._answered_seconds:
            return
        self.starts[resource, NO_ANSWER if status is None else str(status)] += 1
        if status is not None and 200 <= status < 300:
            self._answered_seconds[resource] = self._clock()

    def listed(self) -> None:
        self._listed_seconds = self._clock()

    @property
    def watch_ages_seconds(self) -> dict[str, float]:
        """Since the last answer, by resource; since the start where there was none."""
        now = self._clock()
        return {resource: now - seconds for resource, seconds in self._answered_seconds.items()}

    @property
    def list_age_seconds(self) -> float | None:
        """None before the first full list."""
        return None if self._listed_seconds is None else self._clock() - self._listed_seconds

    def stale(self) -> str | None:
        """What has not been answered for too long, for people; None if all is well."""
        late = [
            f"{resource} ({age_seconds:.0f} s)"
            for resource, age_seconds in self.watch_ages_seconds.items()
            if age_seconds > WATCH_SECONDS + LATE_SECONDS
        ]
        if late:
            return f"the API server answers no watch of {', '.join(late)}"
        age_seconds = self.list_age_seconds
        if age_seconds is not None and age_seconds > RELIST_SECONDS + LATE_SECONDS:
            return f"the last full list is {age_seconds:.0f} s old"
        return None
