"""One Mac's conversation: dial, check its identity, renew leases, read its ledger, list attempts, follow events.

It starts again after every break.
"""

from __future__ import annotations

import asyncio
import random
import secrets

import structlog

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import MachineIdentity
from voxfleet_api.ledger import public_key
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptRequest, AttemptStatus, Event, LadderList
from voxfleet_operator.fleet.admission import agent_token, refused_conversation
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.closing import Closing, renews_leases
from voxfleet_operator.fleet.delivery import Delivery, first_of, wait
from voxfleet_operator.fleet.dialer import DialError
from voxfleet_operator.fleet.event_pace import EventPace
from voxfleet_operator.fleet.identity import MacRejected, check_identity, duplicate_machine, nonce_for
from voxfleet_operator.fleet.lane_conversation import LaneConversation
from voxfleet_operator.fleet.lane_orders import LaneNews
from voxfleet_operator.fleet.ledger_book import LedgerBook
from voxfleet_operator.fleet.ledger_reading import LedgerReading
from voxfleet_operator.fleet.mac_record import MacRecord
from voxfleet_operator.fleet.mac_view import (
    AgentAnswer,
    AgentRefused,
    AgentUnreachable,
    MacView,
    Order,
    Outcome,
    SecretMissing,
)
from voxfleet_operator.fleet.mailbox import Letter, Mailbox
from voxfleet_operator.fleet.older_chains import MAX_KEYS
from voxfleet_operator.fleet.patience import Patience
from voxfleet_operator.fleet.session_context import (
    SessionContext,
    backoff_seconds,
    renewal_interval_seconds,
    renews_before_reading,
    same_conversation,
)
from voxfleet_operator.fleet.unanswered_orders import EPOCH_STATUS, LATE_STATUS, is_no_answer
from voxfleet_shared import crash_points

log = structlog.get_logger()


class MacSession:
    def __init__(self, mac: MacAgent, context: SessionContext) -> None:
        self.mac = mac
        self._name = mac.metadata.name
        self._context = context
        self._log = log.bind(mac=self._name)
        self._patience = Patience(context.timing, context.clock, mac.spec.disconnect.lease_seconds)
        self._begin_record()
        self._client: AgentClient | None = None
        self._shortest_lease_seconds: float = mac.spec.disconnect.lease_seconds
        self._closing = Closing()
        self._pace = EventPace(context.clock())
        self.last_answer_seconds: float | None = None
        """On the fleet's clock."""
        self._renew_now = asyncio.Event()
        self._redial = asyncio.Event()
        self._failures = 0
        self._history_stuck_at: int | None = None
        self._doubted = False
        self._cursor = self._acknowledged = ""
        self._former_keys: tuple[str, ...] = ()
        self._task = asyncio.create_task(self._run(), name=f"mac-session:{self._name}")

    @property
    def view(self) -> MacView:
        return self._record.view

    def update(self, mac: MacAgent) -> None:
        old, self.mac = self.mac, mac
        self._grant_lease(mac.spec.disconnect.lease_seconds)
        if not same_conversation(self._context.dialer, old, mac):
            if old.spec.ledger_public_key != mac.spec.ledger_public_key:
                self._former_keys = (old.spec.ledger_public_key, *self._former_keys)[:MAX_KEYS]
                self._begin_record()
            self.redial()

    def close_at(self, closing: Closing) -> None:
        if closing != self._closing:
            self._closing = closing
            self._renew_now.set()

    def redial(self) -> None:
        self._client = None
        self._failures = 0
        self._redial.set()

    async def stop(self) -> None:
        self._client = None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def put(self, key: AttemptKey, request: AttemptRequest, *, renews: bool) -> None:
        if self._client is not None:
            self._mailbox.put(key, request, renews=renews)
            self._delivery.wake()

    def answer(self, order: Order, key: AttemptKey) -> AgentAnswer | None:
        return self._mailbox.answer(order, key)

    def delete(self, key: AttemptKey) -> AgentAnswer | None:
        answer = self._mailbox.answer(Order.DELETE, key)
        if answer is not None and answer.outcome is Outcome.GONE and key not in self._record.view.attempts:
            return answer
        self._mailbox.delete(key)
        self._delivery.wake()
        return self._mailbox.answer(Order.DELETE, key)

    def hold_lane(self, key: LaneKey, request: LaneRequest | None) -> None:
        if self._client is not None:
            self._lanes.hold(key, request)

    def drop_lane(self, key: LaneKey) -> None:
        self._lanes.drop(key)

    async def _run(self) -> None:
        while True:
            try:
                await self._run_once()
            except Exception:  # noqa: BLE001 # whoever was told of a change has failed; this session goes on
                self._log.exception("mac_session_failed")
                await wait(self._redial, self._context.timing.longest_backoff_seconds)

    async def _run_once(self) -> None:
        """One conversation, and the pause after it."""
        self._redial.clear()
        reason, message = Reason.CONNECTING, "the connection is made anew"
        try:
            await first_of(self._converse(), self._redial.wait())
        except (DialError, MacRejected, SecretMissing) as error:
            reason, message = error.reason, error.message
            self._doubted |= reason is Reason.EPOCH_NOT_BELIEVED
        except AgentRefused as refusal:
            reason, message = refused_conversation(refusal, self.mac.spec.token_secret_ref)
        except AgentUnreachable as error:
            reason, message = Reason.AGENT_UNREACHABLE, str(error)
        except Exception as error:  # noqa: BLE001 # an unexpected error must not end the session for good
            self._log.exception("mac_session_failed")
            reason, message = Reason.UNKNOWN, f"unexpected {type(error).__name__}; see the operator's log"
        finally:
            self._client = None
        self._connection_changed(False, reason, message)
        self._changed(self._mailbox.connection_lost(self._context.clock()))
        self._lanes.connection_lost()
        if not self._redial.is_set():
            backoff = backoff_seconds(self._failures, self._context.timing, random.random())  # noqa: S311 # no secret
            pause_seconds = max(backoff, self._patience.take_stay_away_seconds())
            self._failures += 1
            await wait(self._redial, pause_seconds)

    async def _converse(self) -> None:
        twin = self._context.older_twin(self._name)
        if twin is not None:
            raise duplicate_machine(twin)
        mac = self.mac  # both Secrets are read for one version; an update that matters to what follows redials
        opening = await self._context.dialer.dial(mac)
        ref = mac.spec.token_secret_ref
        token = agent_token(await self._context.secrets(ref.name, ref.key), ref)
        async with (
            opening as connection,
            AgentClient(
                connection,
                control_plane=self._context.control_plane,
                leader=self._context.leader,
                epoch=self._context.epoch,
                on_stale_epoch=self._context.on_stale_epoch,
                call_seconds=self._context.timing.call_seconds,
                clock=self._context.clock,
            ) as client,
        ):
            try:
                await self._prove_identity(client)
                client.authorize(token)
                machine = await client.machine()
                self._machine_reported(machine)
                await self._dispel_doubts(client)
                self._reading.conversation_begins()
                following = asyncio.Event()
                if renews_before_reading(self._history_stuck_at, self._record.book.last_sequence):
                    self._history_stuck_at = self._record.book.last_sequence
                    await self._renew(client)
                    keeping_alive = self._keep_alive(client)
                else:
                    keeping_alive = self._keep_alive_after(following, client)
                await first_of(
                    self._follow(client, machine, following),
                    keeping_alive,
                    self._deliver(client, following),
                    self._lanes.tell(client, following),
                )
            except AgentUnreachable as error:
                if connection.refusal is None:
                    raise
                raise connection.refusal from error  # the transport knows better why there was no answer

    async def _prove_identity(self, client: AgentClient) -> None:
        nonce = nonce_for(self.mac, secrets.token_hex(32))
        identity = await client.identity(nonce)
        check_identity(
            identity,
            mac=self._name,
            nonce=nonce,
            pinned_key=self.mac.spec.ledger_public_key,
            control_plane=self._context.control_plane,
        )
        self._identified(MachineIdentity(hardware_id=identity.hardware_id, ledger_key=identity.public_key))
        self._context.on_identified(self._name)
        twin = self._context.older_twin(self._name)
        if twin is not None:
            raise duplicate_machine(twin)

    async def _dispel_doubts(self, client: AgentClient) -> None:
        """A Mac that was not believed shows as connected, and gets work, only once it takes our epoch."""
        if self._doubted:
            await client.renew(self._closing.renewal(self._context.now()))
            self._doubted = False

    async def _follow(self, client: AgentClient, machine: MachineFacts, following: asyncio.Event) -> None:
        """Reads the ledger, the list, then events since the list.

        Each step covers what happened during the one before.
        """
        chain_id = machine.ledger_chain_id
        stored = self._context.stored_head(self.mac.spec.ledger_public_key, chain_id)
        book = self._record.book
        book.resume(chain_id, machine.ledger_sequence, stored)
        if book.error is None and book.last_sequence >= 0:
            book.compare_head(next(iter((await client.ledger(book.last_sequence - 1, limit=1)).rows), None))
        await self._reading.read_new(client)
        listing = await client.attempts()
        changed = self._record.attempts_listed(listing.attempts)
        await self._reading.read_new(client)  # those of attempts that are not listed because they went meanwhile
        self._changed(changed)
        async with client.events(listing.cursor, self._context.timing.silence_seconds, self._pace) as events:
            self._cursor = self._acknowledged = listing.cursor
            self._client = client
            self._failures, self._history_stuck_at = 0, None
            self._patience.contact_made()
            message = self._context.dialer.connected_message(self.mac)
            self._connection_changed(True, Reason.CONNECTED, message)
            following.set()
            async for event in events:
                await self._handle(client, event)
                self._cursor = event.cursor

    async def _handle(self, client: AgentClient, event: Event) -> None:
        if event.row is not None and self._record.view.ledger_error is None:
            ahead = event.row.row.sequence - self._record.book.last_sequence
            if ahead == 1 and self._reading.has_room:
                self._changed(self._record.rows_delivered([event.row]))
            elif ahead >= 1:
                await self._reading.read_new(client)
        if event.attempt is not None and not self._is_deleted(event.attempt):
            self._changed(self._record.attempt_reported(event.attempt))
            if self._record.lacks_rows:
                await self._reading.read_new(client)

    def _is_deleted(self, status: AttemptStatus) -> bool:
        """Whether the agent has said that nothing is left of it: an event from before that may arrive later."""
        answer = self._mailbox.answer(Order.DELETE, AttemptKey(status.shard_uid, status.attempt))
        return answer is not None and answer.outcome is Outcome.GONE

    async def _keep_alive_after(self, following: asyncio.Event, client: AgentClient) -> None:
        await following.wait()
        await self._renew(client)
        await self._keep_alive(client)

    async def _keep_alive(self, client: AgentClient) -> None:
        """Goes on renewing after the first renewal."""
        while True:
            self._machine_reported(await client.machine())
            await self._reading.read_on(client)
            await self._read_ladders(client)
            await self._reading.read_older(client, (self.mac.spec.ledger_public_key, *self._former_keys))
            interval = renewal_interval_seconds(self._shortest_lease_seconds, self._context.timing)
            await wait(self._renew_now, interval)
            await self._renew(client)

    async def _read_ladders(self, client: AgentClient) -> None:
        """If the agent has other ones than before; leases were renewed first."""
        if not self._record.lacks_ladders:
            return
        ladders = LadderList()
        try:
            ladders = await client.ladders()
        except (AgentRefused, AgentUnreachable) as error:
            # Nobody waits for a ladder. It is asked for again once the agent names another revision.
            self._log.warning("ladders_not_read", error=str(error))
        self._record.ladders_reported(ladders)

    async def _renew(self, client: AgentClient) -> None:
        self._renew_now.clear()
        now = self._context.now()
        try:
            if renews_leases(self._closing, self._record.view.machine, now):
                self._note_renewal()
                await client.renew(self._closing.renewal(now))
            self._patience.renewed()
            await self._acknowledge(client)
        except AgentUnreachable as error:
            self._patience.not_renewed(error)
            raise
        except AgentRefused as refusal:
            if refusal.status == EPOCH_STATUS:
                return  # the leader raises its epoch, and the next renewal goes through
            self._patience.not_renewed(refusal)
            if refusal.status != LATE_STATUS:  # this answer told the agent's time, by which the next one is in time
                raise

    async def _deliver(self, client: AgentClient, following: asyncio.Event) -> None:
        """Sends what reconcilers want of this Mac."""
        await following.wait()
        mailbox, record = self._mailbox, self._record  # of this machine; the next one gets others
        await self._delivery.run(lambda letter: self._send(client, letter, mailbox, record))

    async def _send(self, client: AgentClient, letter: Letter, mailbox: Mailbox, record: MacRecord) -> None:
        key, outcome, refusal = letter.key, Outcome.UNKNOWN, None
        bound = self._log.bind(order=letter.order, shard_uid=key.shard_uid, attempt=key.attempt)
        try:
            outcome = await self._call(client, letter, record)
            if outcome is Outcome.DELETING:
                self._patience.deleting(key)
            else:
                self._patience.answered(letter.order, key)
            self._deletions_told(record)
        except AgentRefused as error:
            outcome, refusal = Outcome.REFUSED, error
            if is_no_answer(letter.order, error):
                self._patience.unanswered(letter.order, key, refused=True)
            else:
                self._patience.answered(letter.order, key)
        except AgentUnreachable as error:
            bound.warning("attempt_unanswered", error=str(error))
            self._patience.unanswered(letter.order, key)
        finally:
            if mailbox.answered(letter, letter.answer(outcome, self._context.clock(), refusal)):
                bound.info("attempt_answered", outcome=outcome, refusal=None if refusal is None else str(refusal))
                self._changed({key.shard_uid})

    def _deletions_told(self, record: MacRecord) -> None:
        hung = self._patience.hung_deletions()
        if record.deletions_hang(hung):
            self._log.warning("deletions_hang", attempts=[str(key) for key in hung])
            self._context.on_change(self._name, frozenset())

    async def _call(self, client: AgentClient, letter: Letter, record: MacRecord) -> Outcome:
        key, request = letter.key, letter.request
        if request is None:
            if not await client.delete_attempt(*key):
                return Outcome.DELETING
            if not record.has_all_rows(key):
                await self._reading.read(client)  # the answer may be faster than the events that bring the last ones
            record.attempt_gone(key)
            return Outcome.GONE
        self._grant_lease(request.lease_seconds)
        self._note_renewal()  # a PUT grants a lease, too
        record.attempt_accepted(await client.put_attempt(*key, request))
        crash_points.point("put-answered")
        return Outcome.ACCEPTED

    async def _acknowledge(self, client: AgentClient) -> None:
        cursor = self._cursor
        if self._client is client and cursor != self._acknowledged:
            await client.acknowledge(cursor)
            self._acknowledged = cursor

    def _note_renewal(self) -> None:
        """To be called before sending: the agent's lease may count from any moment after this one."""
        self._context.grants.note(self._name, self._record.view.identity, self._context.clock())

    def _grant_lease(self, lease_seconds: float) -> None:
        self._patience.grants(lease_seconds)
        if lease_seconds < self._shortest_lease_seconds:
            self._shortest_lease_seconds = lease_seconds
            self._renew_now.set()

    def _machine_reported(self, machine: MachineFacts) -> None:
        self.last_answer_seconds = self._context.clock()
        key = self.mac.spec.ledger_public_key
        self._record.rows_settled(key, self._context.stored_head)
        if self._record.machine_reported(machine):
            self._context.on_change(self._name, frozenset())

    def _changed(self, shard_uids: set[str]) -> None:
        if shard_uids:
            self._context.on_change(self._name, frozenset(shard_uids))

    def _lane_told(self, endpoint_uid: str, news: LaneNews) -> None:
        if news is LaneNews.SESSIONS:
            self._context.on_sessions(endpoint_uid)
        else:
            self._context.on_change(self._name, frozenset())

    def _connection_changed(self, connected: bool, reason: Reason, message: str) -> None:
        shard_uids = self._record.connection_changed(connected, reason, message)
        if shard_uids is not None:
            self._log.info("mac_contact", connected=connected, reason=reason, message=message)
            self._context.on_change(self._name, frozenset(shard_uids))

    def _identified(self, identity: MachineIdentity) -> None:
        """Another machine under this name has its own attempts, and gets no calls that were meant for the old one."""
        known = self._record.view.identity
        if known is not None and known != identity:
            self._log.warning("mac_is_another_machine", hardware_id=identity.hardware_id)
            self._changed({key.shard_uid for key in self._record.view.attempts})
            self._begin_record()
        self._record.identified(identity)

    def _begin_record(self) -> None:
        context = self._context
        book = LedgerBook(public_key(self.mac.spec.ledger_public_key), context.control_plane, context.now)
        self._record = MacRecord(self._name, self._context.control_plane, book)
        self._reading = LedgerReading(self._record, context, self._changed)
        self._mailbox = Mailbox()
        self._patience.another_machine()
        self._delivery = Delivery(self._mailbox, self._context.clock)
        self._lanes = LaneConversation(self._record, context.clock, self._lane_told, self._log)
