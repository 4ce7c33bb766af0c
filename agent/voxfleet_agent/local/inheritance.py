"""Which results of a run were made by another one, whose state folder is not this run's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from voxfleet_agent.local.attempts import LocalAttempts
from voxfleet_agent.local.orders import JobOrders
from voxfleet_agent.local.runner import Ended
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.results import ResultRow


class Inheritance:
    """Clips whose rows were in the output before this run: no watch of this run saw them made."""

    def __init__(self, orders: JobOrders, attempts: LocalAttempts, ended: Ended) -> None:
        self._attempts = attempts
        self._boundaries = () if ended.plan is None else ended.plan.found.boundaries
        self._uids = [orders.shard_uid(Stage.PROCESS, ordinal) for ordinal in range(len(self._boundaries))]
        self.clips = 0

    def counted(self, rows: Iterable[ResultRow]) -> Iterator[ResultRow]:
        """The same rows."""
        for row in rows:
            uid = self._uids[bisect_right(self._boundaries, row.index) - 1]
            self.clips += self._attempts.inherited(uid, row.attempt)
            yield row
