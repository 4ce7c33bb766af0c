"""The agent's HTTP interface, over the modelled network: a dialer for the operator, and the routes on the Mac."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

import httpx
from tests.sim.light_http import Request, Response
from tests.sim.machine import Machine
from tests.sim.network import Network
from tests.sim.virtual_loop import Process

from voxfleet_agent.attempts.admission import Binding, Caller, Refusal, decide_read
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.base import ApiModel
from voxfleet_api.conditions import Reason
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import SshAccess
from voxfleet_api.ledger import IDENTITY_CONTEXT
from voxfleet_api.machine_messages import Identity, identity_claim
from voxfleet_api.order_age import CLOCK_HEADER, GOOD_UNTIL_HEADER, ClockReading
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    AttemptRequest,
    LedgerChain,
    LedgerChains,
    Problem,
    RenewRequest,
)
from voxfleet_operator.fleet.dialer import AgentConnection, DialError, SecretReader

TOKEN = "token"  # of a Mac that exists in memory only


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes = b""
    headers: Mapping[str, str] | None = None
    lines: int | None = None
    """The event after which a stream of lines begins."""


class EventLines(httpx.AsyncByteStream):
    """The receiving end of an event stream."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            line = await self.received.get()
            if line is None:
                raise httpx.ReadError("connection reset")
            yield line

    async def aclose(self) -> None:
        self.open = False


class AgentTransport:
    def __init__(self, process: Process, machine: Machine, network: Network) -> None:
        self._process = process
        self._machine = machine
        self._network = network

    async def handle(self, request: Request) -> Response:
        self._process.check_alive()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        lines = EventLines()
        machine, network, operator = self._machine, self._network, self._process.name

        def answer(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        async def serve() -> None:
            found = await route(machine, request)
            found = replace(found, headers={**(found.headers or {}), CLOCK_HEADER: str(machine.reading())})
            arrival = network.send(machine.host, operator, lambda: answer(found))
            if found.lines is not None:
                await stream(machine, network, operator, found.lines, lines, arrival, self._process)

        def arrive() -> None:
            if machine.answers:
                machine.process.spawn(serve())
            elif not machine.gone:
                network.send(machine.host, operator, lambda: answer(Answer(0)))

        network.send(operator, machine.host, arrive, repeatable=request.method != "GET")
        found = await answered
        if found.status == 0:
            raise httpx.ConnectError("connection refused")
        if found.lines is not None:
            return Response(request, found.status, dict(found.headers or {}), stream=lines)
        return Response(request, found.status, dict(found.headers or {}), found.content)


@dataclass(frozen=True, slots=True)
class Connection:
    transport: AgentTransport
    base_url: str = "http://agent"
    refusal: DialError | None = None


def _ssh(mac: MacAgent) -> SshAccess:
    assert mac.spec.ssh is not None
    return mac.spec.ssh


class SimDialer:
    """Reaches machines by the host that MacAgent.spec.ssh names."""

    def __init__(
        self, process: Process, machines: Mapping[str, Machine], network: Network, secrets: SecretReader
    ) -> None:
        self._process = process
        self._machines = machines
        self._network = network
        self._secrets = secrets

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        return one.spec.ssh == other.spec.ssh

    def connected_message(self, mac: MacAgent) -> str:
        return f"connected to {_ssh(mac).host}"

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AgentConnection]:
        access = _ssh(mac)
        await self._secrets(access.identity_secret_ref.name, access.identity_secret_ref.key)
        return self._open(access.host)

    def close(self) -> None:
        return

    @asynccontextmanager
    async def _open(self, host: str) -> AsyncIterator[AgentConnection]:
        machine = self._machines[host]
        name = self._process.name
        await asyncio.sleep(self._network.delay_seconds())
        if machine.gone or self._network.is_down(name, host) or self._network.is_down(host, name):
            await asyncio.sleep(10)
            raise DialError(Reason.SSH_UNREACHABLE, f"no route to {host}")
        yield cast("AgentConnection", Connection(AgentTransport(self._process, machine, self._network)))


async def stream(
    machine: Machine,
    network: Network,
    operator: str,
    after: int,
    lines: EventLines,
    arrival: float,
    reader: Process,
) -> None:
    """Sends events until the reader goes away, as one ordered stream of bytes."""
    agent, disk = machine.agent, machine.disk
    progressed: dict[AttemptKey, object] = {}

    def send(line: bytes) -> None:
        nonlocal arrival
        arrival = network.send(machine.host, operator, lambda: lines.received.put_nowait(line), after=arrival + 1e-6)

    def reset() -> None:
        network.send(machine.host, operator, lambda: lines.received.put_nowait(None), after=arrival + 1e-6)

    try:
        send(_heartbeat(disk.cursor(after)))
        while agent is not None and lines.open and reader.alive and disk is machine.disk:
            changed = agent.changed
            if after < disk.event_floor:
                break
            new = [(number, line) for number, line in disk.events if number > after]
            for number, line in new:
                after = number
                send(line)
            for live in list(agent.live.values()) if not new else ():
                if live.record.progress.done and progressed.get(live.key) != live.record.progress:
                    progressed[live.key] = live.record.progress
                    send(_line("Attempt", disk.cursor(after), attempt=disk.status(live.record).dump()))
            try:
                async with asyncio.timeout(machine.beat_seconds):
                    await changed.wait()
            except TimeoutError:
                send(_heartbeat(disk.cursor(after)))
            else:
                await asyncio.sleep(machine.random.uniform(0, 0.01))
    finally:
        reset()


async def route(machine: Machine, request: Request) -> Answer:
    agent, disk, path, method = machine.agent, machine.disk, request.url.path, request.method
    assert agent is not None
    caller = Caller(
        authenticated=request.headers.get("Authorization") == f"Bearer {TOKEN}",
        control_plane=request.headers.get(CONTROL_PLANE_HEADER),
        epoch=int(epoch) if (epoch := request.headers.get(EPOCH_HEADER)) else None,
    )
    if path == "/v1/identity":
        return _answer(_identity(machine, request.url.params["nonce"]))
    if method == "GET":
        refusal = decide_read(caller, Binding(disk.control_plane, disk.epoch))
    else:
        refusal = await agent.admit(caller)
    if refusal is not None:
        return _refused(machine, refusal)
    parts, header = path.split("/"), request.headers.get(GOOD_UNTIL_HEADER)
    good_until = None if header is None else ClockReading.parse(header)
    match method, parts[2:]:
        case "GET", ["machine"]:
            return Answer(200, _machine_facts(machine))
        case "GET", ["attempts"]:
            attempts = [disk.status(record).dump() for record in disk.attempts.values()]
            return _json({"attempts": attempts, "cursor": disk.cursor(disk.last_event)})
        case "PUT", ["attempts", uid, number]:
            attempt = AttemptKey(uid, int(number))
            put = await agent.put(attempt, AttemptRequest.load(json.loads(request.content)), good_until)
            if isinstance(put, Refusal):
                return _refused(machine, put)
            return _answer(put)
        case "DELETE", ["attempts", uid, number]:
            gone = await agent.delete(AttemptKey(uid, int(number)))
            machine.count(f"agent.delete {204 if gone else 202}")
            return Answer(204 if gone else 202)
        case "POST", ["renew"]:
            renewed = agent.renew(RenewRequest.load(json.loads(request.content)), good_until)
            return _refused(machine, renewed) if isinstance(renewed, Refusal) else _json({"renewed": renewed})
        case "GET", ["events"]:
            after = disk.resolve(request.url.params["after"])
            if after is None:
                return _refused(machine, Refusal(410, Problem(message="this cursor is not known here")))
            return Answer(200, lines=after)
        case "POST", ["events", "ack"]:
            cursor = disk.resolve(json.loads(request.content)["cursor"])
            if cursor is None:
                return _refused(machine, Refusal(410, Problem(message="this cursor is not known here")))
            disk.trim(cursor)
            return Answer(204)
        case "GET", ["ledger", "chains"]:
            newest = disk.rows[-1] if disk.rows else None
            chain = LedgerChain(
                chain_id=disk.chain_id,
                ledger_key=disk.public_key,
                sequence=len(disk.rows) - 1,
                hash=None if newest is None else newest.hash,
            )
            return _answer(LedgerChains(chains=(chain,)))
        case "GET", ["ledger"]:
            first = int(request.url.params["after"]) + 1
            rows = disk.rows[first : first + int(request.url.params.get("limit", "1000"))]
            return _json({"chainId": disk.chain_id, "rows": [row.dump() for row in rows]})
    return Answer(404, b'{"message": "no such path"}')


def _identity(machine: Machine, nonce: str) -> Identity:
    disk = machine.disk
    claim = Identity(
        hardware_id=disk.hardware_id,
        control_plane=disk.control_plane,
        public_key=disk.public_key,
        nonce=nonce,
        signature="",
    )
    signature = disk.key.sign(IDENTITY_CONTEXT + canonical_json(identity_claim(claim)))
    return claim.model_copy(update={"signature": base64.b64encode(signature).decode()})


def _machine_facts(machine: Machine) -> bytes:
    agent, disk = machine.agent, machine.disk
    free = 0 if agent is None else agent.free_lanes()
    return json.dumps(
        {
            "hardwareId": disk.hardware_id,
            "bootId": machine.boot_id,
            "chip": "M4",
            "memoryBytes": 2**34,
            "os": "macOS 26",
            "versions": {"mlx": "0.32.4"},
            "capabilities": [capability.value for capability in machine.capabilities],
            "runtimeCompatible": machine.runtime_compatible,
            "runtimeMessage": "" if machine.runtime_compatible else "mlx is too old",
            "pools": [{"name": "offline", "kind": "Offline", "lanes": machine.lanes, "freeLanes": free}],
            "ledgerChainId": disk.chain_id,
            "ledgerSequence": len(disk.rows) - 1,
        }
    ).encode()


def _answer(content: ApiModel) -> Answer:
    return _json(content.dump())


def _json(content: object) -> Answer:
    return Answer(200, json.dumps(content).encode())


def _refused(machine: Machine, refusal: Refusal) -> Answer:
    machine.count(f"agent.refused {refusal.status}")
    after = refusal.retry_after_seconds
    return Answer(
        refusal.status,
        json.dumps(refusal.problem.dump()).encode(),
        None if after is None else {"Retry-After": str(after)},
    )


def _heartbeat(cursor: str) -> bytes:
    return _line("Heartbeat", cursor)


def _line(kind: str, cursor: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "cursor": cursor, **fields}).encode() + b"\n"
