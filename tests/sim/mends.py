"""Mends of the product that can be taken back, to see that a run finds the fault without them.

`make sim SIM_ARGS="--without halted-jobs-end"` says after how many seeds it does. `FOUND_BY` names a seed for each,
which a test runs both ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet import mac_view
from voxfleet_operator.fleet.agent_clock import AgentClock
from voxfleet_operator.fleet.mac_record import MacRecord
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.leader import Leader
from voxfleet_operator.reconcile.job import decide as job_decide
from voxfleet_operator.reconcile.mac import decide as mac_decide
from voxfleet_operator.reconcile.shard import decide as shard_decide
from voxfleet_operator.reconcile.statement import decide as statement_decide

Change = tuple[object, str, Any]
"""What is replaced, by which name, and by what."""


@dataclass(frozen=True, slots=True)
class Mend:
    why: str
    taken_back: Callable[[], tuple[Change, ...]]
    shows: str
    """Matches what an invariant says without it."""


def _halted_jobs_end() -> tuple[Change, ...]:
    return ((shard_decide, "_NOTHING_STARTS", {}),)


def _finalize_has_a_deadline() -> tuple[Change, ...]:
    return ((job_decide, "FINALIZE_SECONDS", math.inf),)


def _attempts_belong_to_machines() -> tuple[Change, ...]:
    def by_name(view: MacView, record: AttemptRecord) -> bool:
        return view.name == record.mac

    return tuple((module, "stands_for", by_name) for module in (mac_view, mac_decide, statement_decide))


def _assignments_are_assumed() -> tuple[Change, ...]:
    return ((Cache, "assume", lambda _, __: None),)


def _rows_come_before_the_end() -> tuple[Change, ...]:
    return ((MacRecord, "has_all_rows", lambda _, __: True),)


def _deleted_leases_are_waited_for() -> tuple[Change, ...]:
    async def take_at_once(leader: Leader) -> None:
        await leader._hold(None, transitions=1)

    return ((Leader, "_take_missing", take_at_once),)


def _busy_macs_cost_no_retry() -> tuple[Change, ...]:
    def costs(record: AttemptRecord) -> bool:
        return record.outcome not in (AttemptOutcome.ASSIGNED, AttemptOutcome.SUCCEEDED)

    return ((AttemptRecord, "costs_retry", property(costs)),)


def _orders_do_not_outlive_a_sleep() -> tuple[Change, ...]:
    return ((AgentClock, "good_until", lambda *_: None),)


MENDS: Mapping[str, Mend] = {
    "halted-jobs-end": Mend(
        "a halted job gives up an attempt on a lost Mac, which no other takes over",
        _halted_jobs_end,
        r"job-\d+ does not end",
    ),
    "finalize-has-a-deadline": Mend(
        "results are merged within half an hour, or the job ends without them",
        _finalize_has_a_deadline,
        r"job-\d+ does not end: Finalizing",
    ),
    "attempts-belong-to-machines": Mend(
        "an attempt belongs to a machine and not to the name of a MacAgent",
        _attempts_belong_to_machines,
        r"attempt .* was taken by .*,",
    ),
    "assignments-are-assumed": Mend(
        "nobody resumes an attempt while the next one is being assigned",
        _assignments_are_assumed,
        r".* began on .* after .* was assigned",
    ),
    "busy-macs-cost-no-retry": Mend(
        "an attempt that a Mac had no room for costs no retry",
        _busy_macs_cost_no_retry,
        r".* has no attempt left after",
    ),
    "rows-come-before-the-end": Mend(
        "the last rows of an attempt are read before it counts as gone from its Mac",
        _rows_come_before_the_end,
        r"job-\d+ is settled at",
    ),
    "orders-do-not-outlive-a-sleep": Mend(
        "a PUT that waited in a sleeping Mac's socket starts nothing when it wakes",
        _orders_do_not_outlive_a_sleep,
        r".* began on .* after .* was assigned|.* both ran for",
    ),
    "deleted-leases-are-waited-for": Mend(
        "a replica takes a Lease that was deleted only once its holder must have given up",
        _deleted_leases_are_waited_for,
        r"operator-\d and operator-\d both lead",
    ),
}

FOUND_BY: Mapping[str, int] = {
    "halted-jobs-end": 269,
    "finalize-has-a-deadline": 43,
    "attempts-belong-to-machines": 113,
    "assignments-are-assumed": 20129,
    "busy-macs-cost-no-retry": 79,
    "rows-come-before-the-end": 3957,
    "orders-do-not-outlive-a-sleep": 72,
    "deleted-leases-are-waited-for": 24,
}
"""A seed that shows the fault without the mend, and nothing with it."""


@contextmanager
def without(name: str) -> Iterator[None]:
    changes = MENDS[name].taken_back()
    before = [(owner, attribute, vars(owner)[attribute]) for owner, attribute, _ in changes]
    try:
        for owner, attribute, value in changes:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
