"""A MacAgent's conditions and facts, as its view shows them. Pure. Nothing in it changes as work progresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from voxfleet_api.conditions import ConditionType, Reason, condition, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus, MacExclusion, Machine, MachinePool
from voxfleet_api.machine_messages import MachineFacts
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
from voxfleet_operator.reconcile.mac.verdict import ConditionVerdict
from voxfleet_operator.reconcile.mac_closing import RETURN_GRACE, drain_returns_at
from voxfleet_operator.reconcile.refusing_macs import Refusing

OFFLINE = "Offline"
SHOWN_SHARDS = 5
MAX_FACT, MAX_NAME, MAX_POOLS, MAX_VERSIONS = 128, 63, 16, 32
"""What MacAgentStatus takes: texts, names and versions of packages in characters, pools and packages by number."""


def mac_status(
    mac: MacAgent,
    view: MacView,
    now: str,
    exclusion: MacExclusion | None = None,
    left: Sequence[str] = (),
    refusing: Refusing | None = None,
) -> MacAgentStatus:
    """`exclusion`: the one that holds now. `left`: the shards with an attempt on the Mac that is not over, each with
    its namespace. `refusing`: what it answered to the last attempts.
    """
    moment = datetime.fromisoformat(now)
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
    if verdicts[ConditionType.ACCEPTED].status is False:  # to whoever syncs the spec, as a job that is refused
        verdicts[ConditionType.STALLED] = verdicts[ConditionType.ACCEPTED]._replace(status=True)
    generation = mac.metadata.generation
    return MacAgentStatus(
        observed_generation=generation,
        conditions=tuple(
            condition(mac.status.conditions, type_, *verdict, generation=generation, now=now)
            for type_, verdict in verdicts.items()
        ),
        machine=mac.status.machine if view.machine is None else machine(view.machine),
        exclusion=exclusion,
    )


def _draining(
    mac: MacAgent, view: MacView, left: Sequence[str], now: datetime
) -> Mapping[ConditionType, ConditionVerdict]:
    """Present for as long as spec.drain is set."""
    if mac.spec.drain is None:
        return {}
    if not left:
        return {ConditionType.DRAINING: _empty(mac, view)}
    return_at = drain_returns_at(mac, now)
    how = "run to their end" if now < return_at else "end after the clips in flight"
    until = return_at if now < return_at else return_at + RETURN_GRACE
    message = f"{_count(left)} still to end ({_shown(left)}): they {how}, until {until:%Y-%m-%dT%H:%M:%SZ} at most"
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


def unseen(left: Sequence[str]) -> str:
    """Of a Mac that is to run nothing any more and is out of contact."""
    return (
        f"without contact nobody knows whether {_count(left)} stopped in time ({_shown(left)}); what this Mac signs of"
        " them counts once it is read, in its statement and in the job's usage"
    )


def _count(left: Sequence[str]) -> str:
    return f"{len(left)} attempt{'s' * (len(left) != 1)}"


def _shown(left: Sequence[str]) -> str:
    return ", ".join([*sorted(left)[:SHOWN_SHARDS], *(["…"] if len(left) > SHOWN_SHARDS else [])])


def machine(facts: MachineFacts) -> Machine:
    """What an agent says of its machine, as far as a status has room."""
    pools = {pool.name[:MAX_NAME]: pool for pool in reversed(facts.pools[:MAX_POOLS])}
    return Machine(
        hardware_id=facts.hardware_id[:MAX_FACT],
        boot_id=facts.boot_id[:MAX_FACT],
        ledger_chain_id=facts.ledger_chain_id[:64],
        chip=facts.chip[:MAX_FACT],
        memory_bytes=facts.memory_bytes,
        os=facts.os[:MAX_FACT],
        pools=tuple(MachinePool(name=name, kind=pool.kind, lanes=pool.lanes) for name, pool in reversed(pools.items())),
        versions={
            name[:MAX_NAME]: version[:MAX_NAME] for name, version in sorted(facts.versions.items())[:MAX_VERSIONS]
        },
    )


def lane_memory_bytes(facts: MachineFacts) -> int | None:
    """The memory cap of its roomiest lanes for batches; None if the agent does not say, or has none."""
    caps = [pool.memory_cap_bytes for pool in facts.pools if pool.kind == OFFLINE and pool.lanes]
    known = [cap for cap in caps if cap is not None]
    return max(known) if known and len(known) == len(caps) else None


def offline_lanes(machine: MachineFacts | Machine) -> int:
    return sum(pool.lanes for pool in machine.pools if pool.kind == OFFLINE)
