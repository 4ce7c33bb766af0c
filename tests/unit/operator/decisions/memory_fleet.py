"""Macs in memory: lanes, leases, tombstones, rows, and views of them that lag."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from tests.rig.ledger_row import ledger_row
from tests.unit.operator.decisions.bodies import LEDGER_KEY
from tests.unit.operator.decisions.memory_api import Clock, hop, sha

from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptRecord, AttemptUsage, MachineIdentity, Stage
from voxfleet_api.ledger import Activity, ChainHead, RowOwner, SignedRow
from voxfleet_api.machine_messages import Capability, MachineFacts, PoolFacts
from voxfleet_api.protocol import (
    TERMINAL_STATES,
    AttemptFailure,
    AttemptRequest,
    AttemptState,
    AttemptStatus,
    LedgerSpan,
    Problem,
    RenewRequest,
    ReportedLadder,
    S3Credentials,
    ShardResult,
)
from voxfleet_api.ranges import decode
from voxfleet_api.results import Counts, MeasuredResults, PlanResult
from voxfleet_operator.fleet.closing import Closing, renews_leases
from voxfleet_operator.fleet.lease_grants import LeaseGrants
from voxfleet_operator.fleet.mac_view import AgentAnswer, AgentRefused, AgentUnreachable, MacView, Order, Outcome
from voxfleet_operator.fleet.mailbox import Letter, Mailbox
from voxfleet_operator.fleet.verified_row import VerifiedRow

CONTROL_PLANE = "control-plane-uid"
SETUP_AND_CLEANUP = 110


@dataclass
class Run:
    spec: AttemptSpec
    digest: str
    state: AttemptState
    lease_seconds: int
    left: int
    """Steps of work."""
    laned: bool = False
    since_seconds: float = 0.0
    """When it was started or resumed."""
    held_seconds: float = 0.0
    """For how long it ran before it was parked."""
    failure: FailureClass | None = None
    credentials: S3Credentials | None = None
    puts: int = 0


@dataclass
class Agent:
    """One Mac: lanes, leases, tombstones and rows."""

    name: str
    clock: Clock
    random: Random
    lanes: int = 1
    interactive: int = 0
    """Lanes that no attempt gets."""
    chip: str = "M4"
    hardware_id: str = ""
    """Unless given, each name has a machine of its own."""
    ledger_key: str = LEDGER_KEY
    runs: dict[AttemptKey, Run] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    usage: dict[AttemptKey, AttemptUsage] = field(default_factory=dict)
    rows: list[VerifiedRow] = field(default_factory=list)
    renewed_seconds: float = 0.0
    capabilities: tuple[Capability, ...] = tuple(Capability)
    requests: dict[AttemptKey, AttemptRequest] = field(default_factory=dict)
    """The newest PUT of each attempt."""
    asked: RenewRequest = field(default_factory=RenewRequest)
    """What the newest renewal said."""
    failures: tuple[FailureClass, ...] = ()
    failure_rate: float = 0.0
    poison: frozenset[int] = frozenset()
    """Clips that bring down every attempt that has them."""
    sequence: int = 0
    process_ticks: int = 2
    """How many calls of `work` an attempt of Process takes."""
    bills_by_clock: bool = False
    """Whether an attempt's work is the time since it was sent; else it is always a second."""
    ladder_profile: str | None = None
    ladders: tuple[ReportedLadder, ...] = ()
    boot_id: str = "boot"
    versions: dict[str, str] = field(default_factory=lambda: {"mlx": "0.32.4"})

    @property
    def identity(self) -> MachineIdentity:
        return MachineIdentity(hardware_id=self.hardware_id or f"hardware-{self.name}", ledger_key=self.ledger_key)

    def put(self, key: AttemptKey, request: AttemptRequest) -> AttemptStatus:
        spec = AttemptSpec.load(request.spec)
        self.requests[key] = request
        if (buried := self.tombstones.get(key.shard_uid, 0)) >= key.attempt:
            raise AgentRefused(410, Problem(message="deleted before", held_attempt=buried))
        held = max((other.attempt for other in self.runs if other.shard_uid == key.shard_uid), default=0)
        known = self.runs.get(key)
        if held > key.attempt or (known is not None and known.digest != request.spec_digest):
            raise AgentRefused(409, Problem(message="newer attempt or other digest", held_attempt=held))
        if known is None:
            if self.asked.takes_nothing:
                raise AgentRefused(503, Problem(message="it drains"), retry_after_seconds=5)
            if spec.stage is Stage.PROCESS and self.free_lanes() < 1:
                raise AgentRefused(429, Problem(message="no lane"), retry_after_seconds=1)
            ticks = self.process_ticks if spec.stage is Stage.PROCESS else 2
            known = Run(spec, request.spec_digest, AttemptState.RUNNING, request.lease_seconds, ticks)
            known.since_seconds = self.clock.seconds
            self.runs[key] = known
        elif known.state is AttemptState.PARKED:
            known.state, known.since_seconds = AttemptState.RUNNING, self.clock.seconds
        known.credentials = request.credentials
        known.puts += 1
        self.renewed_seconds = self.clock.seconds
        return self.status(key)

    def delete(self, key: AttemptKey) -> bool:
        run = self.runs.pop(key, None)
        self.tombstones[key.shard_uid] = max(self.tombstones.get(key.shard_uid, 0), key.attempt)
        if run is not None and run.laned and run.state not in TERMINAL_STATES:
            self._seal(key, self._work_milliseconds(run, 0), run.spec)
        return True

    def free_lanes(self) -> int:
        return self.lanes - sum(
            run.spec.stage is Stage.PROCESS and run.state not in TERMINAL_STATES | {AttemptState.PARKED}
            for run in self.runs.values()
        )

    def park_expired(self) -> None:
        for run in self.runs.values():
            expired = self.clock.seconds - self.renewed_seconds >= run.lease_seconds
            if expired and run.state is AttemptState.RUNNING:
                self._park(run, self.renewed_seconds + run.lease_seconds)

    def renewed(self, request: RenewRequest) -> None:
        """An older agent only takes the time."""
        self.renewed_seconds = self.clock.seconds
        if Capability.RETURNS_AT_NEXT_CLIP not in self.capabilities:
            return
        self.asked = request
        if request.stop_after_seconds == 0:
            for run in self.runs.values():
                run.state = AttemptState.PARKED if run.state is AttemptState.RUNNING else run.state

    def restart(self) -> None:
        self.asked = RenewRequest()
        for run in self.runs.values():
            if run.state is AttemptState.RUNNING:
                self._park(run, self.clock.seconds)

    def _park(self, run: Run, at_seconds: float) -> None:
        run.state = AttemptState.PARKED
        run.held_seconds += max(0.0, at_seconds - run.since_seconds)

    def _work_milliseconds(self, run: Run, usual: int) -> int:
        if not self.bills_by_clock:
            return usual
        running_seconds = 0.0 if run.state is AttemptState.PARKED else self.clock.seconds - run.since_seconds
        return max(0, int(1000 * (run.held_seconds + running_seconds)) - SETUP_AND_CLEANUP)

    def work(self) -> None:
        self.park_expired()
        for key, run in self.runs.items():
            if run.state is not AttemptState.RUNNING:
                continue
            run.laned = run.laned or run.spec.stage is Stage.PROCESS
            if run.laned and self.asked.return_after_seconds == 0:
                run.state, run.failure = AttemptState.FAILED, FailureClass.MACHINE_RETURNED
                self._seal(key, 500, run.spec)
                continue
            run.left -= 1
            if run.left:
                continue
            failed = self.failures and self.random.random() < self.failure_rate
            run.failure = self.random.choice(self.failures) if failed else None
            process = run.spec.process
            if process is not None and not self.poison.isdisjoint(decode(process.indexes)):
                failed, run.failure = True, FailureClass.GPU_ABORT_TIMEOUT
            run.state = AttemptState.FAILED if failed else AttemptState.SUCCEEDED
            if run.laned:
                self._seal(key, self._work_milliseconds(run, 1000), run.spec)

    def _seal(self, key: AttemptKey, work: int, spec: AttemptSpec | None = None) -> None:
        """`spec`: None for an attempt that only its rows tell of."""
        owner = RowOwner(kind="AudioBatchJob", namespace="team", name="deleted", uid="deleted-uid")
        if spec is not None:
            owner = RowOwner(kind="AudioBatchJob", namespace=spec.namespace, name=spec.job.name, uid=spec.job.uid)
        now = f"{self.clock.now():%Y-%m-%dT%H:%M:%S}.000Z"
        self.usage[key] = AttemptUsage(
            chain_id=self.name,
            first_sequence=self.sequence,
            last_sequence=self.sequence + 2,
            rows=3,
            setup_milliseconds=100,
            work_milliseconds=work,
            cleanup_milliseconds=10,
        )
        for activity, milliseconds in ((Activity.SETUP, 100), (Activity.WORK, work), (Activity.CLEANUP, 10)):
            row = ledger_row(
                self.sequence,
                chain_id=self.name,
                control_plane=CONTROL_PLANE,
                hardware_id=self.identity.hardware_id,
                owner=owner,
                shard_uid=key.shard_uid,
                attempt=key.attempt,
                activity=activity,
                billing_key=None if spec is None else spec.billing_key,
                wall_start=now,
                wall_end=now,
                monotonic_milliseconds=milliseconds,
            )
            signed = SignedRow(row=row, hash=sha(f"{self.name}#{self.sequence}"), signature="")
            self.rows.append(VerifiedRow.of(signed, CONTROL_PLANE, self.clock.now()))
            self.sequence += 1

    def status(self, key: AttemptKey) -> AttemptStatus:
        run = self.runs[key]
        usage = self.usage.get(key)
        ended = run.state in TERMINAL_STATES
        return AttemptStatus(
            shard_uid=key.shard_uid,
            attempt=key.attempt,
            spec_digest=run.digest,
            control_plane=CONTROL_PLANE,
            namespace=run.spec.namespace,
            job=run.spec.job,
            shard_name=run.spec.shard_name,
            stage=run.spec.stage,
            state=run.state,
            lane="offline/0" if run.laned and not ended and run.state is not AttemptState.PARKED else None,
            failure=None if run.failure is None else AttemptFailure(failure_class=run.failure, message="it failed"),
            result=result_of(run.spec) if run.state is AttemptState.SUCCEEDED else None,
            ledger=None
            if usage is None or not ended
            else LedgerSpan(
                chain_id=usage.chain_id, first_sequence=usage.first_sequence, last_sequence=usage.last_sequence
            ),
        )


MEASURED = MeasuredResults(infer_p95_milliseconds=12_000, retries=3, quarantined_audio_milliseconds=0)
"""What the results of every job come to."""


def commit_of(spec: AttemptSpec, clips: int) -> str:
    """A digest whose end tells how many clips were delivered."""
    return f"{sha(f'{spec.shard_uid}/{spec.attempt}')[:-4]}{clips:04x}"


def result_of(spec: AttemptSpec) -> ShardResult:
    """Ten clips in five shards; every clip succeeds."""
    commit = sha(f"{spec.shard_uid}/{spec.attempt}")
    if spec.plan is not None:
        plan = PlanResult(
            manifest_sha256=sha(f"manifest/{spec.attempt}"),
            model_digest=f"sha256:{sha('model')}",
            boundaries=(0, 2, 4, 6, 8, 10),
            audio_seconds="20.000",
        )
        return ShardResult(commit_sha256=commit, plan=plan)
    if spec.process is not None:
        clips = len(decode(spec.process.indexes))
        return ShardResult(commit_sha256=commit_of(spec, clips), counts=Counts(succeeded=clips))
    assert spec.finalize is not None
    not_run = len(decode(spec.finalize.not_run))
    covered = not_run + sum(int(ref.sha256[-4:], 16) for ref in spec.finalize.commits)
    assert covered == spec.finalize.total, "Finalize has to account for every clip exactly once"
    counts = Counts(succeeded=spec.finalize.total - not_run, not_run=not_run)
    return ShardResult(commit_sha256=commit, counts=counts, measured=MEASURED)


class MemoryFleet:
    """Views lag until `refresh`; calls are made by `send`, and one may act and lose its answer."""

    def __init__(self, agents: Mapping[str, Agent], random: Random, clock: Clock) -> None:
        self.agents = agents
        self.reachable = set(agents)
        self.ensured: set[str] = set()
        self.closings: dict[str, Closing] = {}
        self.lost_answers = 0.0
        self.started: list[tuple[AttemptKey, str]] = []
        self.stored_head: Callable[[str], ChainHead | None] = lambda _: None
        self._views: dict[str, MacView] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._grants = LeaseGrants()
        self._random = random
        self._clock = clock

    def view(self, mac: str) -> MacView:
        unknown = MacView(mac, connected=False, reason=Reason.CONNECTING, message="connecting")
        return self._views.get(mac, unknown)

    def views(self) -> Mapping[str, MacView]:
        return {name: self.view(name) for name in self.ensured}

    def lease_granted_seconds(self, record: AttemptRecord) -> float | None:
        return self._grants.last_seconds(record)

    def ensure(self, mac: MacAgent) -> None:
        self.ensured.add(mac.metadata.name)

    def close_at(self, mac: str, closing: Closing) -> None:
        self.closings[mac] = closing

    def forget(self, mac: str) -> None:
        self.ensured.discard(mac)
        self._views.pop(mac, None)
        self._mailboxes.pop(mac, None)

    def refresh(self, mac: str) -> set[str]:
        """Renews leases and reads what the agent says; returns the shards that look different now."""
        if mac not in self.ensured:
            return set()
        agent, old, dropped = self.agents[mac], self.view(mac), set[str]()
        if mac not in self.reachable:
            dropped = self._mailbox(mac).connection_lost(self._clock.seconds)
            self._views[mac] = MacView(
                mac,
                connected=False,
                reason=Reason.SSH_UNREACHABLE,
                message="no route to host",
                machine=old.machine,
                identity=old.identity,
                attempts=old.attempts,
                usage=old.usage,
                rows=old.rows,
            )
        else:
            if old.identity not in (None, agent.identity):
                self._mailboxes.pop(mac, None)
            agent.park_expired()
            closing, now = self.closings.get(mac, Closing()), self._clock.now()
            if renews_leases(closing, facts(agent), now):
                self._grants.note(mac, agent.identity, self._clock.seconds)
                agent.renewed(closing.renewal(now))
            head = self.stored_head(mac)
            rows = tuple(agent.rows if head is None else agent.rows[head.sequence + 1 :])
            self._views[mac] = MacView(
                mac,
                connected=True,
                reason=Reason.CONNECTED,
                message="connected",
                machine=facts(agent),
                attempts={key: agent.status(key) for key in agent.runs},
                usage=usage_of(rows),
                rows=rows,
                identity=agent.identity,
                ladders={(ladder.model_digest, ladder.contract_digest): ladder for ladder in agent.ladders},
            )
        view = self._views[mac]
        known = {*old.attempts, *view.attempts} | {key for key in view.usage if view.usage[key] != old.usage.get(key)}
        return dropped | {key.shard_uid for key in known}

    def put(self, mac: MacView, key: AttemptKey, request: AttemptRequest, *, renews: bool = False) -> None:
        if self.view(mac.name).connected:
            self._mailbox(mac.name).put(key, request, renews=renews)

    def hold_lane(self, mac: MacView, key: LaneKey, request: LaneRequest | None) -> None:
        raise AssertionError("no endpoint has lanes here")

    def drop_lane(self, mac: MacView, key: LaneKey) -> None:
        raise AssertionError("no endpoint has lanes here")

    def answer(self, mac: MacView, order: Order, key: AttemptKey) -> AgentAnswer | None:
        return self._mailbox(mac.name).answer(order, key)

    def delete(self, mac: MacView, key: AttemptKey) -> AgentAnswer | None:
        mailbox = self._mailbox(mac.name)
        answer = mailbox.answer(Order.DELETE, key)
        if answer is None or answer.outcome is not Outcome.GONE or key in self.view(mac.name).attempts:
            mailbox.delete(key)
        return mailbox.answer(Order.DELETE, key)

    async def send(self) -> dict[str, set[str]]:
        """Sends all that is due, as the sessions do; returns the shards that were answered, by Mac."""
        macs = [mac for mac in self._mailboxes if self.view(mac).connected]
        answered = await asyncio.gather(*(self._send_all(mac) for mac in macs))
        return dict(zip(macs, answered, strict=True))

    async def _send_all(self, mac: str) -> set[str]:
        mailbox, answered = self._mailbox(mac), set()
        while (letter := mailbox.next(self._clock.seconds)) is not None:
            outcome, refusal = Outcome.UNKNOWN, None
            try:
                outcome = await self._call(mac, letter)
            except AgentRefused as error:
                outcome, refusal = Outcome.REFUSED, error
            except AgentUnreachable:
                pass
            answer = AgentAnswer(outcome, self._clock.seconds, refusal)
            if letter.request is not None:
                given = (letter.request.credentials, letter.request.uri_prefixes)
                answer = AgentAnswer(outcome, self._clock.seconds, refusal, *given, renews=letter.renews)
            mailbox.answered(letter, answer)
            answered.add(letter.key.shard_uid)
        return answered

    async def _call(self, mac: str, letter: Letter) -> Outcome:
        await self._hop(mac, before=True)
        agent = self.agents[mac]
        if letter.request is None:
            gone = agent.delete(letter.key)
            await self._hop(mac)
            if not gone:
                return Outcome.DELETING
            view = self.view(mac)
            left = {key: report for key, report in view.attempts.items() if key != letter.key}
            self._views[mac] = replace(view, attempts=left)
            return Outcome.GONE
        self._grants.note(mac, agent.identity, self._clock.seconds)
        if letter.key not in agent.runs:
            self.started.append((letter.key, mac))
        agent.put(letter.key, letter.request)
        await self._hop(mac)
        return Outcome.ACCEPTED

    def _mailbox(self, mac: str) -> Mailbox:
        return self._mailboxes.setdefault(mac, Mailbox())

    async def _hop(self, mac: str, *, before: bool = False) -> None:
        await hop(self._random)
        if (before and mac not in self.reachable) or self._random.random() < self.lost_answers:
            raise AgentUnreachable(f"no answer from {mac}")


def usage_of(rows: Iterable[VerifiedRow]) -> dict[AttemptKey, AttemptUsage]:
    """What a book knows that was opened behind a stored head."""
    found: dict[AttemptKey, AttemptUsage] = {}
    for row in rows:
        usage = found.get(row.attempt) or AttemptUsage(
            chain_id=row.chain_id, first_sequence=row.sequence, last_sequence=row.sequence, rows=0
        )
        field_name = f"{row.activity.lower()}_milliseconds"
        more = {field_name: getattr(usage, field_name) + row.machine_milliseconds}
        found[row.attempt] = usage.model_copy(update={"last_sequence": row.sequence, "rows": usage.rows + 1, **more})
    return found


def pools(agent: Agent) -> tuple[PoolFacts, ...]:
    counts = (("live", "Interactive", agent.interactive, agent.interactive),) if agent.interactive else ()
    if agent.lanes or not counts:
        counts = (*counts, ("offline", "Offline", agent.lanes, agent.free_lanes()))
    return tuple(PoolFacts(name=name, kind=kind, lanes=lanes, free_lanes=free) for name, kind, lanes, free in counts)


def facts(agent: Agent) -> MachineFacts:
    return MachineFacts(
        hardware_id=agent.identity.hardware_id,
        boot_id=agent.boot_id,
        chip=agent.chip,
        memory_bytes=2**34,
        os="macOS 26",
        versions=agent.versions,
        runtime_compatible=True,
        runtime_message="",
        capabilities=agent.capabilities,
        pools=pools(agent),
        ledger_chain_id=agent.name,
        ledger_sequence=agent.sequence - 1,
        ladder_profile=agent.ladder_profile,
    )
