"""All Macs: a session for each MacAgent, and the calls that reconcilers make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_api.ledger import ChainHead
from voxfleet_api.protocol import AttemptRequest
from voxfleet_operator.fleet.closing import Closing
from voxfleet_operator.fleet.dialer import Dialer, SecretReader
from voxfleet_operator.fleet.lease_grants import LeaseGrants
from voxfleet_operator.fleet.mac_view import AgentAnswer, MacView, Order
from voxfleet_operator.fleet.session import MacSession
from voxfleet_operator.fleet.session_context import SessionContext, SessionTiming


@dataclass(frozen=True, slots=True)
class Claim:
    """A MacAgent, and what is known of the machine that it stands for."""

    name: str
    created: str
    ledger_key: str
    hardware_id: str | None


def older_twin(claim: Claim, others: Iterable[Claim]) -> str | None:
    """The oldest MacAgent (by creation, then name) for the same machine, if it is older than `claim`."""
    twins = [
        other
        for other in others
        if (other.created, other.name) < (claim.created, claim.name)
        and (
            other.ledger_key == claim.ledger_key
            or (claim.hardware_id is not None and other.hardware_id == claim.hardware_id)
        )
    ]
    return min(twins, key=lambda twin: (twin.created, twin.name)).name if twins else None


class MacFleet:
    """Implements the Fleet protocol, over any transport. To be made and used inside one event loop.

    `close` closes the dialer, too. `on_change(mac, shard UIDs)` is called after every change of a view but for
    numbers of sessions, of which `on_sessions(endpoint UID)` tells, and `on_stale_epoch(held)` when an agent holds a
    higher epoch than ours. `stored_head(ledger key, chain)` is the newest
    ledger row that need not be read again. While not `settles()`, no more rows are read than a Mac has room for.
    """

    def __init__(
        self,
        *,
        control_plane: str,
        leader: str,
        epoch: Callable[[], int],
        secrets: SecretReader,
        dialer: Dialer,
        on_change: Callable[[str, frozenset[str]], None],
        on_stale_epoch: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timing: SessionTiming | None = None,
        stored_head: Callable[[str, str], ChainHead | None] = lambda _, __: None,
        settles: Callable[[], bool] = lambda: True,
        on_sessions: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._dialer = dialer
        self._sessions: dict[str, MacSession] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._context = SessionContext(
            control_plane=control_plane,
            leader=leader,
            epoch=epoch,
            secrets=secrets,
            dialer=dialer,
            on_change=on_change,
            on_sessions=on_sessions,
            on_stale_epoch=on_stale_epoch,
            clock=clock,
            now=now,
            timing=timing or SessionTiming(),
            grants=LeaseGrants(),
            older_twin=self._older_twin,
            on_identified=self._redial_younger_twins,
            stored_head=stored_head,
            settles=settles,
        )

    def view(self, mac: str) -> MacView:
        session = self._sessions.get(mac)
        if session is None:
            return MacView(
                mac,
                connected=False,
                reason=Reason.UNKNOWN,
                message="there is no MacAgent of this name",
            )
        return session.view

    def views(self) -> Mapping[str, MacView]:
        """They are looked up as they are at the moment of reading; nothing is copied."""
        return _Views(self._sessions)

    def lease_granted_seconds(self, record: AttemptRecord) -> float | None:
        return self._context.grants.last_seconds(record)

    def last_answer_seconds(self, mac: str) -> float | None:
        """Monotonic time of the last answer of the Mac's agent to this process; None if there was none."""
        session = self._sessions.get(mac)
        return None if session is None else session.last_answer_seconds

    def ensure(self, mac: MacAgent) -> None:
        name = mac.metadata.name
        session = self._sessions.get(name)
        if session is not None and session.mac.metadata.uid != mac.metadata.uid:
            self.forget(name)
            session = None
        if session is None:
            self._sessions[name] = MacSession(mac, self._context)
        elif session.mac.spec != mac.spec:
            session.update(mac)
        else:
            return
        self._redial_younger_twins(name)

    def close_at(self, mac: str, closing: Closing) -> None:
        session = self._sessions.get(mac)
        if session is not None:
            session.close_at(closing)

    def forget(self, mac: str) -> None:
        session = self._sessions.pop(mac, None)
        if session is None:
            return
        stopping = asyncio.create_task(session.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        for other in self._sessions.values():
            if other.view.reason is Reason.DUPLICATE_MACHINE:
                other.redial()

    def put(self, mac: MacView, key: AttemptKey, request: AttemptRequest, *, renews: bool = False) -> None:
        if (session := self._addressed(mac)) is not None:
            session.put(key, request, renews=renews)

    def answer(self, mac: MacView, order: Order, key: AttemptKey) -> AgentAnswer | None:
        session = self._addressed(mac)
        return None if session is None else session.answer(order, key)

    def delete(self, mac: MacView, key: AttemptKey) -> AgentAnswer | None:
        session = self._addressed(mac)
        return None if session is None else session.delete(key)

    def hold_lane(self, mac: MacView, key: LaneKey, request: LaneRequest | None) -> None:
        if (session := self._addressed(mac)) is not None:
            session.hold_lane(key, request)

    def drop_lane(self, mac: MacView, key: LaneKey) -> None:
        if (session := self._addressed(mac)) is not None:
            session.drop_lane(key)

    async def close(self) -> None:
        """Ends every session; no thread, descriptor or socket file is left."""
        for name in list(self._sessions):
            self.forget(name)
        await asyncio.gather(*self._stopping)
        self._dialer.close()

    def _addressed(self, mac: MacView) -> MacSession | None:
        """The session that the view is of, once it is known which machine that is, and as long as it is the same."""
        session = self._sessions.get(mac.name)
        if session is None or mac.identity is None or session.view.identity != mac.identity:
            return None
        return session

    def _older_twin(self, name: str) -> str | None:
        session = self._sessions.get(name)
        if session is None:
            return None
        return older_twin(_claim(session), map(_claim, self._sessions.values()))

    def _redial_younger_twins(self, name: str) -> None:
        """Disconnects a younger twin that connected before this older MacAgent was known."""
        claim = _claim(self._sessions[name])
        for session in self._sessions.values():
            if older_twin(_claim(session), [claim]) and session.view.reason is not Reason.DUPLICATE_MACHINE:
                session.redial()


class _Views(Mapping[str, MacView]):
    def __init__(self, sessions: Mapping[str, MacSession]) -> None:
        self._sessions = sessions

    def __getitem__(self, mac: str) -> MacView:
        return self._sessions[mac].view

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)


def _claim(session: MacSession) -> Claim:
    metadata, identity = session.mac.metadata, session.view.identity
    return Claim(
        metadata.name,
        metadata.creation_timestamp,
        session.mac.spec.ledger_public_key,
        None if identity is None else identity.hardware_id,
    )
