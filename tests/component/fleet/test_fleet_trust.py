"""Who is trusted with what: host keys, client keys, identities, tokens. What a real sshd saw is what counts."""

from __future__ import annotations

import asyncio
import logging
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr
from tests.component.fleet.rig import Rig
from tests.component.fleet.stand_in_agent import PATIENCE_SECONDS, StandInAgent

from voxfleet_api.conditions import Reason
from voxfleet_dev.sshd import Sshd, generate_identity
from voxfleet_operator.fleet.event_pace import EventPace
from voxfleet_operator.fleet.mac_view import AgentUnreachable


async def test_wrong_host_key_is_refused_before_anything_is_sent(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    other = Sshd(mac.sshd.directory / "other", forward_port=1)

    rig.fleet.ensure(mac.resource("mac-01", hostKeys=[other.host_key_line]))
    message = await rig.refused("mac-01", Reason.HOST_KEY_MISMATCH)

    assert "SHA256:" in message and "spec.ssh.hostKeys" in message
    log = mac.sshd.log.read_text()
    assert "Connection from" in log
    assert "publickey" not in log and mac.sshd.user not in log
    assert mac.agent.seen == []


async def test_a_host_key_that_changes_while_there_is_contact_is_named_and_heals_with_the_new_pin(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    pin = replace_host_key(mac.sshd)  # the Mac was set up anew

    assert "SHA256:" in await rig.refused("mac-01", Reason.HOST_KEY_MISMATCH)

    rig.fleet.ensure(mac.resource("mac-01", hostKeys=[pin]))
    await rig.connected("mac-01")


async def test_any_of_several_pins_will_do(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    older = Sshd(mac.sshd.directory / "older", forward_port=1).host_key_line

    rig.fleet.ensure(mac.resource("mac-01", hostKeys=[older, mac.sshd.host_key_line]))

    assert (await rig.connected("mac-01")).machine is not None


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
async def test_a_pin_of_one_type_works_whatever_else_the_server_has(rig: Rig, kind: str) -> None:
    mac = await rig.start_mac(StandInAgent())
    lines = add_host_keys(mac.sshd)

    rig.fleet.ensure(mac.resource("mac-01", hostKeys=[lines[kind]]))

    await rig.connected("mac-01")


async def test_a_server_without_a_key_of_the_pinned_type_is_a_mismatch(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    pin = add_host_keys(mac.sshd)["rsa"]
    other = await rig.start_mac(StandInAgent())

    rig.fleet.ensure(other.resource("mac-01", hostKeys=[pin]))

    assert "ssh-ed25519 SHA256:" in await rig.refused("mac-01", Reason.HOST_KEY_MISMATCH)


async def test_wrong_client_key_names_the_secret_and_the_key(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.secrets[f"ssh-{mac.agent.port}", "id"] = generate_identity().encode()

    rig.fleet.ensure(mac.resource("mac-01"))
    message = await rig.refused("mac-01", Reason.SSH_AUTHENTICATION_FAILED)

    assert f"Secret ssh-{mac.agent.port}, key id" in message and "authorized_keys" in message
    assert f"publickey for {mac.sshd.user}" in mac.sshd.log.read_text()
    assert mac.agent.seen == []


async def test_nothing_listening_names_host_and_port(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    mac.sshd.stop()

    rig.fleet.ensure(mac.resource("mac-01"))

    assert f"127.0.0.1:{mac.sshd.port}" in await rig.refused("mac-01", Reason.SSH_UNREACHABLE)


async def test_forbidden_agent_port_names_permitopen(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())

    rig.fleet.ensure(mac.resource("mac-01", agentPort=1))

    assert 'permitopen="127.0.0.1:1"' in await rig.refused("mac-01", Reason.AGENT_UNREACHABLE)


async def test_the_identity_is_asked_for_the_port_that_is_called(rig: Rig) -> None:
    """So that nobody who listens there can have it from the agent on another one."""
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    assert all(call.query.endswith(f"%40{mac.agent.port}") for call in mac.agent.calls("/v1/identity"))


async def test_identity_by_another_key_gets_no_token(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(signing_key=Ed25519PrivateKey.generate()))

    rig.fleet.ensure(mac.resource("mac-01"))
    message = await rig.refused("mac-01", Reason.IDENTITY_MISMATCH)

    assert "did not prove ledger key" in message and "kubectl" not in message  # a key that nobody proved is not typed
    assert {call.path for call in mac.agent.seen} == {"/v1/identity"}
    assert all(mac.agent.token not in str(call) for call in mac.agent.seen)


async def test_contact_is_over_once_somebody_without_the_key_answers_on_a_new_connection(rig: Rig) -> None:
    """Although the connections from before would go on."""
    mac = await rig.start_mac(StandInAgent())
    async with rig.dialled(mac.resource("mac-01")) as (client, connection):
        client.authorize(SecretStr(mac.agent.token))
        async with client.events("journal-1:0", PATIENCE_SECONDS, EventPace(0.0)) as events:
            mac.agent.signing_key = Ed25519PrivateKey.generate()
            with pytest.raises(AgentUnreachable):
                await client.machine()
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(AgentUnreachable):
                    async for _ in events:
                        pass
        assert connection.refusal is not None and connection.refusal.reason is Reason.IDENTITY_MISMATCH
    assert not mac.agent.calls("/v1/machine")


async def test_agent_of_another_control_plane_gets_no_token(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(bound_to="another-cluster"))

    rig.fleet.ensure(mac.resource("mac-01"))

    assert "another-cluster" in await rig.refused("mac-01", Reason.OTHER_CONTROL_PLANE)
    assert all(mac.agent.token not in str(call) for call in mac.agent.seen)


async def test_wrong_token_names_the_secret_and_heals(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    right = rig.secrets[f"token-{mac.agent.port}", "token"]
    rig.secrets[f"token-{mac.agent.port}", "token"] = b"wrong"

    rig.fleet.ensure(mac.resource("mac-01"))
    assert f"Secret token-{mac.agent.port}, key token" in await rig.refused("mac-01", Reason.AGENT_TOKEN_REFUSED)

    rig.secrets[f"token-{mac.agent.port}", "token"] = right
    await rig.connected("mac-01")


async def test_missing_secret_says_what_to_create(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    del rig.secrets[f"token-{mac.agent.port}", "token"]

    rig.fleet.ensure(mac.resource("mac-01"))

    message = await rig.refused("mac-01", Reason.SECRET_NOT_FOUND)
    assert message == f"create Secret token-{mac.agent.port} with key token"


async def test_the_token_is_in_no_log_however_verbose(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    mac = await rig.start_mac(StandInAgent())
    with caplog.at_level(logging.DEBUG):
        rig.fleet.ensure(mac.resource("mac-01"))
        await rig.connected("mac-01")

    assert mac.agent.calls("/v1/machine")
    assert mac.agent.token not in caplog.text


async def test_the_younger_of_two_macs_with_one_hardware_id_lets_go(rig: Rig) -> None:
    younger = await rig.start_mac(StandInAgent())
    older = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(younger.resource("younger", created="2026-11-20T11:00:00Z"))
    await rig.connected("younger")

    rig.fleet.ensure(older.resource("older", created="2026-11-20T10:00:00Z"))
    message = await rig.refused("younger", Reason.DUPLICATE_MACHINE)
    await rig.connected("older")

    assert "MacAgent older" in message
    assert not rig.fleet.view("younger").connected
    rig.fleet.forget("older")
    await rig.connected("younger")


def replace_host_key(sshd: Sshd) -> str:
    """Restarts sshd with another key; returns its public line."""
    sshd.stop()
    path = sshd.directory / "host_key"
    path.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    sshd.start()
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def add_host_keys(sshd: Sshd) -> dict[str, str]:
    """Restarts sshd with a key of each type; returns their public lines by type."""
    lines = {"ed25519": sshd.host_key_line}
    sshd.stop()
    for kind in ("ecdsa", "rsa"):
        path = sshd.directory / f"host_key_{kind}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
        with (sshd.directory / "sshd_config").open("a") as configuration:
            configuration.write(f"HostKey {path}\n")
        lines[kind] = " ".join(path.with_suffix(".pub").read_text().split()[:2])
    sshd.start()
    return lines
