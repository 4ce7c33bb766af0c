"""Keeps a VoiceEndpoint's lanes warm: gather what Macs say, decide, write the status once, then tell the Macs.

Consistency: a lane's number and its Mac stand in the status before the Mac is called, and every write is conditional on
the very version that was decided on. So a process that has just started finds the lanes that there are, and a number is
never used twice. While a status is being written, claims keep others from the same room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from voxfleet_api.endpoint_lanes import EndpointLaneSpec, LaneKey
from voxfleet_api.kinds import MacAgent, VoiceContract, VoiceEndpoint
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState, VoiceEndpointStatus
from voxfleet_api.opening_hours import UnusableHours
from voxfleet_api.protocol import S3Credentials
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.credentials import Blocked, CredentialReadings
from voxfleet_operator.reconcile.endpoint.accept import Acceptance, accept
from voxfleet_operator.reconcile.endpoint.decide import LaneSnapshot, plan_lanes
from voxfleet_operator.reconcile.endpoint.deletion import plan_deletion
from voxfleet_operator.reconcile.endpoint.lane_course import REPLACE_AFTER
from voxfleet_operator.reconcile.endpoint.lane_life import HELD, LaneSight
from voxfleet_operator.reconcile.endpoint.lane_spec import lane_request, told_digest
from voxfleet_operator.reconcile.endpoint.latency_watch import LatencyWatch, next_look_seconds
from voxfleet_operator.reconcile.endpoint.slo import RecentTurns
from voxfleet_operator.reconcile.endpoint.spare_time import SpareTime
from voxfleet_operator.reconcile.endpoint.status import (
    EndpointFacts,
    endpoint_status,
    only_counts_moved,
    refusal_grace_seconds,
    warm_lanes,
    without_idle_usage,
)
from voxfleet_operator.reconcile.endpoint.wanted import Closed, Load, closed, next_change
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.lane_places import LanePlaces
from voxfleet_operator.reconcile.namespace_access import opened
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.status_writer import differs, write_finalizers, write_status
from voxfleet_operator.reconcile.stored_statements import StoredStatements

SYNC_RETRY_SECONDS = 1.0
DIAL_SECONDS = 45.0
"""So long a new process takes a Mac that it has not reached yet for what the status says: a dial that failed is tried
again after half a minute."""
COUNTS_SECONDS = 60.0
"""What only counts is written so often at most."""
LOOK_AGAIN_SECONDS = 60.0
"""The queue's clock does not see when the clock on the wall is set."""
SHORTEST_WAIT_SECONDS = 0.2

log = structlog.get_logger(__name__)


class EndpointReconciler:
    def __init__(self, context: Context, findings: SharedFindings) -> None:
        self._context = context
        self._claims = findings.lane_claims
        self._places = findings.lane_places
        self._credentials = CredentialReadings(context)
        self._spare = SpareTime(context)
        self._latencies = LatencyWatch(context)
        self._statements = StoredStatements(context.cache)
        self._written_seconds: dict[str, float] = {}
        self._known: dict[Key, str] = {}
        """The UIDs of endpoints, for when somebody takes their finalizer away."""

    async def reconcile(self, key: Key) -> float | None:
        context = self._context
        endpoint = context.cache.get(VoiceEndpoint, key.namespace, key.name)
        if endpoint is None or self._known.get(key, endpoint.metadata.uid) != endpoint.metadata.uid:
            self._forget(key)
        if endpoint is None:
            return None
        if not context.synced():
            return SYNC_RETRY_SECONDS
        self._known[key] = endpoint.metadata.uid
        if endpoint.metadata.deletion_timestamp is not None:
            return await self._delete(endpoint)
        if CLEANUP_FINALIZER not in endpoint.metadata.finalizers:
            await write_finalizers(context, endpoint, [*endpoint.metadata.finalizers, CLEANUP_FINALIZER])
            return 0.0
        return await self._advance(endpoint)

    async def _advance(self, endpoint: VoiceEndpoint) -> float:
        context, uid = self._context, endpoint.metadata.uid
        blocker, credentials = None, None
        try:
            credentials = await self._credentials.credentials(endpoint)
        except Blocked as blocked:
            blocker = blocked.blocker
        now = context.now()
        acceptance = self._accept(endpoint, blocker, now)
        sights = {lane.mac: self._sight(endpoint, lane) for lane in endpoint.status.macs}
        turns = self._latencies.look(endpoint, endpoint.status.macs, sights)
        new, places = self._decide(endpoint, acceptance, sights, turns, now)
        wait_seconds = self._wait_before_writing(endpoint, new)
        if wait_seconds == 0:
            self._claims.claim(uid, (lane.mac for lane in new.macs))
            try:
                written = await write_status(context, endpoint, new)
            finally:
                self._claims.release(uid)
            if written is None:
                return 0.0
            self._written_seconds[uid] = context.clock()
            self._log_changes(endpoint, written)
            endpoint = written
        self._tell(endpoint, acceptance.spec, credentials)
        waits = (places.wake_after_seconds, wait_seconds or None, next_look_seconds(endpoint, turns))
        return max(SHORTEST_WAIT_SECONDS, self._next_look_seconds(endpoint, waits, now))

    def _accept(self, endpoint: VoiceEndpoint, blocker: Blocker | None, now: datetime) -> Acceptance:
        contract = self._context.cache.get(VoiceContract, endpoint.metadata.namespace, endpoint.spec.contract_ref.name)
        return accept(endpoint, contract, blocker, now)

    def _decide(
        self,
        endpoint: VoiceEndpoint,
        acceptance: Acceptance,
        sights: Mapping[str, LaneSight],
        turns: RecentTurns,
        now: datetime,
    ) -> tuple[VoiceEndpointStatus, LanePlaces]:
        found, before = _closed(endpoint, now), endpoint.status.lanes
        load = Load(
            warm=len(warm_lanes(endpoint.status.macs)),
            sessions=sum(sight.sessions for sight in sights.values()),
            per_lane=endpoint.spec.session.max_per_lane,
        )
        wanted = 0
        if found is None:
            wanted = self._spare.wanted(endpoint, 0 if before is None else before.wanted, load)
        spec_digest = None if acceptance.spec is None else told_digest(acceptance.spec)
        elsewhere = not _has_all(endpoint, wanted, spec_digest)
        while True:
            places = self._places(endpoint, elsewhere=elsewhere)
            macs = {lane.mac for lane in endpoint.status.macs}.union(places.candidates)
            views = self._context.fleet.views()
            snapshot = LaneSnapshot(
                endpoint=endpoint,
                wanted=wanted,
                spec_digest=spec_digest,
                sights=sights,
                places=places,
                machines={mac: views[mac].identity for mac in macs if mac in views},
            )
            plan = plan_lanes(snapshot, now)
            if elsewhere or (plan.lanes == endpoint.status.macs and not plan.missing):
                break
            elsewhere = True  # its own Macs are not enough
        facts = EndpointFacts(
            acceptance=acceptance,
            closed=found,
            wanted=wanted,
            plan=plan,
            busy=sum(sights[lane.mac].sessions > 0 for lane in warm_lanes(plan.lanes) if lane.mac in sights),
            spec_digest=spec_digest,
            pending_reason=places.pending_reason,
            counted=self._statements.endpoint(endpoint.metadata.uid),
            gateway_url=self._context.options.gateway_url,
            turns=turns,
        )
        return endpoint_status(endpoint, facts, now), places

    def _sight(self, endpoint: VoiceEndpoint, lane: EndpointLane) -> LaneSight:
        context = self._context
        mac, view = context.cache.get(MacAgent, "", lane.mac), context.fleet.view(lane.mac)
        if mac is None or not _is_same_machine(lane, view):
            return LaneSight(exists=False)
        return LaneSight(
            exists=True,
            connected=view.connected,
            heard=view.identity is not None or context.clock() - context.leader.counts_from_seconds >= DIAL_SECONDS,
            answer=view.lanes.get(LaneKey(endpoint.metadata.uid, lane.generation)),
            lease_seconds=mac.spec.disconnect.lease_seconds,
        )

    def _tell(self, endpoint: VoiceEndpoint, spec: EndpointLaneSpec | None, credentials: S3Credentials | None) -> None:
        """States to the sessions of Macs what the status says. Each answer wakes the endpoint."""
        context = self._context
        context.leader.check()
        labels = context.cache.namespace_labels(endpoint.metadata.namespace)
        digest = None if spec is None else told_digest(spec)
        for lane in endpoint.status.macs:
            mac, view = context.cache.get(MacAgent, "", lane.mac), context.fleet.view(lane.mac)
            if mac is None or not _is_same_machine(lane, view):
                continue
            key = LaneKey(endpoint.metadata.uid, lane.generation)
            if lane.state not in HELD:
                context.fleet.drop_lane(view, key)
            elif spec is None or lane.spec_digest != digest:
                context.fleet.hold_lane(view, key, None)  # as it was told before
            else:
                prefixes = opened(mac.spec.access, labels, endpoint.spec.billing_key).prefixes
                request = lane_request(
                    spec,
                    lane.generation,
                    mac.spec.disconnect.lease_seconds,
                    credentials,
                    prefixes,
                    endpoint.status.model_digest,
                )
                context.fleet.hold_lane(view, key, request)

    def _wait_before_writing(self, endpoint: VoiceEndpoint, new: VoiceEndpointStatus) -> float | None:
        """In seconds; None if there is nothing to write. Only what counts waits."""
        if not differs(endpoint.status, without_idle_usage(endpoint.status, new)):
            return None
        last = self._written_seconds.get(endpoint.metadata.uid)
        if last is None or not only_counts_moved(endpoint.status, new):
            return 0.0
        return max(0.0, last + COUNTS_SECONDS - self._context.clock())

    def _next_look_seconds(self, endpoint: VoiceEndpoint, others: Sequence[float | None], now: datetime) -> float:
        moments = [next_change(endpoint.spec, now)]
        for lane in endpoint.status.macs:
            moments.append(None if lane.retry_time is None else datetime.fromisoformat(lane.retry_time))
            moments.append(datetime.fromisoformat(lane.since) + REPLACE_AFTER)
        waits = [(moment - now).total_seconds() for moment in moments if moment is not None and moment > now]
        others = (*others, refusal_grace_seconds(endpoint, now))
        return min([LOOK_AGAIN_SECONDS, *waits, *(seconds for seconds in others if seconds is not None)])

    async def _delete(self, endpoint: VoiceEndpoint) -> float | None:
        """Takes lanes away from every Mac that is named, for a bounded time, then lets the object go."""
        context, now = self._context, self._context.now()
        if CLEANUP_FINALIZER not in endpoint.metadata.finalizers:
            return None
        sights = {lane.mac: self._sight(endpoint, lane) for lane in endpoint.status.macs}
        deletion = plan_deletion(endpoint, sights, now)
        if deletion.finish:
            if deletion.gave_up is not None:
                note = f"deleted although lanes may be left on Macs: {deletion.gave_up}; they go with their leases"
                log.warning("deletion gave up", endpoint=endpoint.metadata.name, why=note)
                context.events.publish(endpoint, EventReason.CLEANUP_INCOMPLETE, note)
            others = [name for name in endpoint.metadata.finalizers if name != CLEANUP_FINALIZER]
            written = await write_finalizers(context, endpoint, others)
            if written is None and context.cache.by_uid(VoiceEndpoint, endpoint.metadata.uid) is not None:
                return 0.0
            return None
        new = endpoint.status.model_copy(update={"macs": deletion.lanes})
        written = await write_status(context, endpoint, new)
        if written is None:
            return 0.0
        self._tell(written, None, None)
        return SHORTEST_WAIT_SECONDS if not written.status.macs else deletion.look_again_seconds

    def _forget(self, key: Key) -> None:
        """Whoever deleted an endpoint, and however: nothing is remembered of it, and no Mac is to hold its lanes."""
        uid = self._known.pop(key, None)
        if uid is None:
            return
        self._written_seconds.pop(uid, None)
        self._latencies.forget(uid)
        self._context.metrics.turns.forget(key.namespace, key.name)
        self._spare.forget(uid)
        for view in list(self._context.fleet.views().values()):
            for lane in [lane for lane in view.lanes if lane.endpoint_uid == uid]:
                self._context.fleet.drop_lane(view, lane)

    def _log_changes(self, old: VoiceEndpoint, new: VoiceEndpoint) -> None:
        before = {lane.mac: (lane.state, lane.generation) for lane in old.status.macs}
        for lane in new.status.macs:
            if before.get(lane.mac) != (lane.state, lane.generation):
                log.info(
                    "lane",
                    endpoint=new.metadata.name,
                    namespace=new.metadata.namespace,
                    mac=lane.mac,
                    generation=lane.generation,
                    state=lane.state,
                    failure_class=lane.failure_class,
                )


def _has_all(endpoint: VoiceEndpoint, wanted: int, spec_digest: str | None) -> bool:
    """Whether as many lanes are warm as are wanted, and all are told what holds now. Such an endpoint, which its
    sessions wake again and again, asks of other Macs only if one of its own gives it up.
    """
    lanes = endpoint.status.macs
    return len(lanes) == wanted and all(
        lane.state == EndpointLaneState.WARM and lane.spec_digest == spec_digest for lane in lanes
    )


def _is_same_machine(lane: EndpointLane, view: MacView) -> bool:
    """While it is unknown which machine it is, its name counts."""
    return lane.machine is None or view.identity is None or lane.machine == view.identity


def _closed(endpoint: VoiceEndpoint, now: datetime) -> Closed | None:
    """Hours that cannot be read leave alone what there is: the spec is not accepted."""
    try:
        return closed(endpoint.spec, now)
    except UnusableHours:
        return None
