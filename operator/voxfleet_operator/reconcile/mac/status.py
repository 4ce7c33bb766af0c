"""A MacAgent's conditions and facts, as its view shows them. Pure. Nothing in it changes as work progresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.conditions import ConditionType, Reason, condition, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus, MacExclusion
from voxfleet_api.moments import timestamp
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.acceptance import acceptance_passed
from voxfleet_operator.reconcile.mac.availability import (
    accepted,
    availability,
    ledger_verified,
    reachable,
    runtime_compatible,
)
from voxfleet_operator.reconcile.mac.contention import contended
from voxfleet_operator.reconcile.mac.pools import pools_match
from voxfleet_operator.reconcile.mac.reported_machine import shown_machine
from voxfleet_operator.reconcile.mac.verdict import ConditionVerdict
from voxfleet_operator.reconcile.mac_closing import RETURN_GRACE, drain_returns_at
from voxfleet_operator.reconcile.refusing_macs import Refusing

SHOWN_OBJECTS = 5


@dataclass(frozen=True, slots=True)
class LeftToEnd:
    """What a Mac is not empty of. Names have their namespaces."""

    shards: Sequence[str] = ()
    """Those with an attempt on the Mac that is not over."""
    endpoints: Sequence[str] = ()
    """Those that may have a lane on the Mac."""

    def __bool__(self) -> bool:
        return bool(self.shards or self.endpoints)


NOTHING_LEFT = LeftToEnd()


def mac_status(
    mac: MacAgent,
    view: MacView,
    now: str,
    exclusion: MacExclusion | None = None,
    left: LeftToEnd = NOTHING_LEFT,
    refusing: Refusing | None = None,
) -> MacAgentStatus:
    """`exclusion`: the one that holds now. `left`: what is still to end. `refusing`: what it answered to the last
    attempts.
    """
    moment, machine = datetime.fromisoformat(now), shown_machine(mac, view)
    verdicts = {
        ConditionType.ACCEPTED: accepted(mac, view, moment),
        ConditionType.REACHABLE: reachable(view),
        ConditionType.RUNTIME_COMPATIBLE: runtime_compatible(view),
        ConditionType.LEDGER_VERIFIED: ledger_verified(view),
        ConditionType.AVAILABLE: availability(mac, view, moment, exclusion, refusing).verdict,
        **_draining(mac, view, left, moment),
    }
    if (acceptance := acceptance_passed(mac, view)) is not None:
        verdicts[ConditionType.ACCEPTANCE_PASSED] = acceptance
    if (contention := contended(mac, view)) is not None:
        verdicts[ConditionType.CONTENDED] = contention
    if (match := pools_match(mac, machine)) is not None:
        verdicts[ConditionType.POOLS_MATCH] = match
    if verdicts[ConditionType.ACCEPTED].status is False:  # to whoever syncs the spec, as a job that is refused
        verdicts[ConditionType.STALLED] = verdicts[ConditionType.ACCEPTED]._replace(status=True)
    generation = mac.metadata.generation
    return MacAgentStatus(
        observed_generation=generation,
        conditions=tuple(
            condition(mac.status.conditions, type_, *verdict, generation=generation, now=now)
            for type_, verdict in verdicts.items()
        ),
        machine=machine,
        exclusion=exclusion,
    )


def _draining(mac: MacAgent, view: MacView, left: LeftToEnd, now: datetime) -> Mapping[ConditionType, ConditionVerdict]:
    """Present for as long as spec.drain is set."""
    if mac.spec.drain is None:
        return {}
    if not left:
        return {ConditionType.DRAINING: _empty(mac, view)}
    return_at = drain_returns_at(mac, now)
    runs_on = now < return_at
    until = return_at if runs_on else return_at + RETURN_GRACE
    parts = []
    if left.shards:
        how = "run to their end" if runs_on else "end after the clips in flight"
        parts.append(f"{_attempts(left)} still to end ({_shown(left.shards)}): they {how}")
    if left.endpoints:
        how = "each goes once another one is warm" if runs_on else "they are taken away"
        parts.append(f"{_lanes(left)} still to go (of {_shown(left.endpoints)}): {how}")
    message = f"{'; '.join(parts)}, until {timestamp(until)} at most"
    return {ConditionType.DRAINING: ConditionVerdict(True, Reason.DRAINING, message)}


def _empty(mac: MacAgent, view: MacView) -> ConditionVerdict:
    """Of a Mac on which nothing runs: whether all that it signed is read and settled. Its rows go with it."""
    drained = ConditionVerdict(False, Reason.DRAINED, "nothing runs on this Mac any more, and its rows are settled")
    if view.ledger_error is not None:
        rows = f"rows left that do not verify, and are never counted: {view.ledger_error}"
    elif view.rows:
        rows = "rows left to settle: of attempts that are not settled, or that no statement counts yet"
    elif view.connected or _was_drained(mac):
        return drained
    else:
        rows = "rows left, perhaps: without contact nobody knows what this Mac has signed since"
    return ConditionVerdict(True, Reason.ROWS_LEFT, f"nothing runs on this Mac any more; {rows}")


def _was_drained(mac: MacAgent) -> bool:
    stored = find(mac.status.conditions, ConditionType.DRAINING)
    return stored is not None and stored.reason == Reason.DRAINED


def unseen(left: LeftToEnd) -> str:
    """Of a Mac that is to run nothing any more and is out of contact."""
    counted = " and ".join([*([_attempts(left)] if left.shards else []), *([_lanes(left)] if left.endpoints else [])])
    named = "; ".join(
        [*([_shown(left.shards)] if left.shards else []), *([f"of {_shown(left.endpoints)}"] if left.endpoints else [])]
    )
    return (
        f"without contact nobody knows whether {counted} stopped in time ({named}); what this Mac signs of them counts"
        " once it is read, in its statement and in the job's usage"
    )


def _attempts(left: LeftToEnd) -> str:
    return f"{len(left.shards)} attempt{'s' * (len(left.shards) != 1)}"


def _lanes(left: LeftToEnd) -> str:
    return f"{len(left.endpoints)} lane{'s' * (len(left.endpoints) != 1)}"


def _shown(names: Sequence[str]) -> str:
    return ", ".join([*sorted(names)[:SHOWN_OBJECTS], *(["…"] if len(names) > SHOWN_OBJECTS else [])])
