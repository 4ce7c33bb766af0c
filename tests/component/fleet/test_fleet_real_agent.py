"""The operator's fleet against a real agent behind a real sshd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.component.fleet.rig import Rig
from tests.component.fleet.stand_in_agent import PATIENCE_SECONDS

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds import MacAgent
from voxfleet_api.machine_messages import nonce_for_port
from voxfleet_api.protocol import AttemptRequest
from voxfleet_dev.mac import FleetTls, Mac
from voxfleet_operator.fleet.event_pace import EventPace
from voxfleet_operator.fleet.mac_view import AgentUnreachable


@pytest.fixture
def mac(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mac]:
    tls = getattr(request, "param", None)
    with Mac("mac-01", tmp_path / "mac-01", allow=[f"{tmp_path.as_uri()}/"], tls=tls) as mac:
        yield mac


@pytest.fixture
def resource(mac: Mac, rig: Rig) -> MacAgent:
    for secret in mac.secret_manifests("voxfleet-system"):
        metadata, data = secret["metadata"], secret["stringData"]
        assert isinstance(metadata, dict) and isinstance(data, dict)
        rig.secrets |= {(metadata["name"], key): text.encode() for key, text in data.items()}
    return MacAgent.load(mac.mac_agent_manifest())


@pytest.mark.parametrize("mac", [None, FleetTls.made()], ids=["over SSH", "over HTTPS"], indirect=True)
async def test_it_connects_and_survives_a_restart_of_the_agent(rig: Rig, mac: Mac, resource: MacAgent) -> None:
    rig.fleet.ensure(resource)
    first = await rig.connected("mac-01")
    assert first.machine is not None and first.machine.pools[0].lanes == 1
    assert first.ledger_error is None

    mac.kill_agent()
    await rig.until("mac-01", lambda view: "voxfleet-agent there" in view.message or "agent runs" in view.message)
    mac.restart_agent()

    assert (await rig.connected("mac-01")).attempts == {}


async def test_a_spec_that_it_cannot_read_is_refused(rig: Rig, resource: MacAgent) -> None:
    rig.fleet.ensure(resource)
    await rig.connected("mac-01")
    request = AttemptRequest(spec_digest="sha256:" + "0" * 64, spec={"unknown": 1}, lease_seconds=60)

    key = AttemptKey("shard-a", 1)
    answer = await rig.put("mac-01", key, request)

    assert answer.refusal is not None and answer.refusal.status == 422
    await rig.delete("mac-01", key)


async def test_the_second_control_plane_is_told_whose_agent_it_is(rig: Rig, mac: Mac, resource: MacAgent) -> None:
    rig.fleet.ensure(resource)
    await rig.connected("mac-01")
    other = Rig(mac.directory, rig.stack, control_plane="another-cluster")
    rig.stack.push_async_callback(other.fleet.close)
    other.secrets = rig.secrets

    other.fleet.ensure(resource)

    assert rig.control_plane in await other.refused("mac-01", Reason.OTHER_CONTROL_PLANE)


async def test_whoever_takes_the_port_of_an_agent_that_ended_gets_no_token(
    rig: Rig, mac: Mac, resource: MacAgent
) -> None:
    """Before the operator has seen the event stream end."""
    async with rig.dialled(resource) as (client, connection):
        old_proof = await client.identity(nonce_for_port("0" * 64, mac.agent_port))
        client.authorize(SecretStr(mac.token))
        cursor = (await client.attempts()).cursor
        # The only connection is busy with the events, so that the next call needs another one.
        async with client.events(cursor, PATIENCE_SECONDS, EventPace(0.0)) as events:
            mac.kill_agent()
            async with listening(mac.agent_port, canonical_json(old_proof.dump())) as heard:
                with pytest.raises(AgentUnreachable):
                    await client.machine()
                with pytest.raises(AgentUnreachable):
                    async for _ in events:
                        pass

            refusal = connection.refusal

    assert bytes(heard).startswith(b"GET /v1/identity?nonce=")
    assert b"authorization" not in heard.lower() and mac.token.encode() not in heard
    assert refusal is not None and refusal.reason is Reason.IDENTITY_MISMATCH


@asynccontextmanager
async def listening(port: int, body: bytes) -> AsyncIterator[bytearray]:
    """Answers every request on a loopback port with this body; what it gets is recorded."""
    heard = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            heard.extend(chunk)
            if heard.endswith(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield heard
    finally:
        server.close()
