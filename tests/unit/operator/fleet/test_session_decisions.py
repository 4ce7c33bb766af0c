"""Backoff, renewals, twins and identity proofs, by table."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr
from starlette.applications import Starlette
from tests.unit.operator.decisions.bodies import mac_agent

from voxfleet_agent.server.app import build_server
from voxfleet_api.conditions import Reason
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds import MacAgent
from voxfleet_api.ledger import IDENTITY_CONTEXT
from voxfleet_api.machine_messages import Identity, identity_claim
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.dialer import KEEPALIVE_SECONDS, AgentConnection
from voxfleet_operator.fleet.event_pace import EventPace
from voxfleet_operator.fleet.fleet import Claim, older_twin
from voxfleet_operator.fleet.identity import MacRejected, check_identity
from voxfleet_operator.fleet.mac_view import AgentUnreachable
from voxfleet_operator.fleet.session_context import (
    SessionTiming,
    backoff_seconds,
    renewal_interval_seconds,
    renews_before_reading,
)

TIMING = SessionTiming(longest_renewal_interval_seconds=10, first_backoff_seconds=1, longest_backoff_seconds=30)
KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("failures", "fraction", "seconds"),
    [(0, 0.0, 1.0), (1, 0.0, 2.0), (3, 0.5, 6.0), (10, 0.0, 30.0), (10**6, 1.0, 15.0)],
)
def test_backoff_doubles_up_to_its_cap_with_jitter(failures: int, fraction: float, seconds: float) -> None:
    assert backoff_seconds(failures, TIMING, fraction) == seconds


@pytest.mark.parametrize(("lease", "interval"), [(600.0, 10.0), (30.0, 10.0), (10.0, 10 / 3), (3.0, 1.0)])
def test_a_lease_is_renewed_three_times_over_and_every_few_seconds(lease: float, interval: float) -> None:
    assert renewal_interval_seconds(lease, TIMING) == pytest.approx(interval)


@pytest.mark.parametrize(
    ("stuck_at", "verified", "renews"),
    [(None, -1, True), (-1, -1, False), (-1, 0, True), (5, 5, False), (5, -1, False)],
)
def test_a_session_renews_before_reading_unless_the_last_one_that_did_read_nothing(
    stuck_at: int | None, verified: int, renews: bool
) -> None:
    assert renews_before_reading(stuck_at, verified) is renews


@pytest.mark.parametrize(
    ("lost_after", "lease_seconds"),
    [("0s", 1), ("1ms", 1), ("1500ms", 1), ("30s", 30), ("10m", 600), ("24h", 86400), ("99999999h", 86400)],
)
def test_whatever_the_api_server_holds_a_lease_is_bounded_and_its_renewals_are_no_hot_loop(
    lost_after: str, lease_seconds: int
) -> None:
    mac = MacAgent.load(mac_agent("mac-a", disconnect={"lostAfter": lost_after}))
    assert mac.spec.disconnect.lease_seconds == lease_seconds
    assert renewal_interval_seconds(0.0, TIMING) == TIMING.shortest_renewal_interval_seconds > 0
    assert renewal_interval_seconds(lease_seconds, TIMING) > 0


@pytest.mark.parametrize("call", ["DELETE", "events"])
async def test_a_closed_client_reaches_nobody(call: str) -> None:
    connection = SimpleNamespace(base_url="http://agent", transport=httpx.MockTransport(lambda _: httpx.Response(204)))
    async with AgentClient(
        cast("AgentConnection", connection),
        control_plane="c",
        leader="l",
        epoch=lambda: 1,
        on_stale_epoch=lambda _: None,
    ) as client:
        client.authorize(SecretStr("t"))
    late = client.delete_attempt("s", 1) if call == "DELETE" else client.events("", 1.0, EventPace(0.0)).__aenter__()
    with pytest.raises(AgentUnreachable, match="the connection was closed"):
        await late


OLD = Claim("b", "2026-01-01T00:00:00Z", "key-1", "hardware-1")


@pytest.mark.parametrize(
    ("claim", "twin"),
    [
        (Claim("a", "2026-01-02T00:00:00Z", "key-1", None), "b"),
        (Claim("a", "2026-01-02T00:00:00Z", "key-2", "hardware-1"), "b"),
        (Claim("a", "2026-01-02T00:00:00Z", "key-2", "hardware-2"), None),
        (Claim("a", "2026-01-02T00:00:00Z", "key-2", None), None),
        (Claim("a", "2026-01-01T00:00:00Z", "key-1", None), None),  # of one second: the name decides
        (Claim("c", "2026-01-01T00:00:00Z", "key-1", None), "b"),
        (OLD, None),
    ],
)
def test_the_younger_of_two_with_one_machine_has_a_twin(claim: Claim, twin: str | None) -> None:
    assert older_twin(claim, [OLD, Claim("z", "2026-01-01T00:00:01Z", "key-9", None)]) == twin


def test_two_unidentified_macs_are_no_twins() -> None:
    assert older_twin(Claim("b", "2", "key-2", None), [Claim("a", "1", "key-1", None)]) is None


def text(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def proof(signer: Ed25519PrivateKey = KEY, shown: Ed25519PrivateKey = KEY, owner: str | None = "ours") -> Identity:
    identity = Identity(hardware_id="h", control_plane=owner, public_key=text(shown), nonce="nonce", signature="")
    signature = signer.sign(IDENTITY_CONTEXT + canonical_json(identity_claim(identity)))
    return identity.model_copy(update={"signature": base64.b64encode(signature).decode()})


@pytest.mark.parametrize("owner", [None, "ours"])
def test_a_good_proof_passes(owner: str | None) -> None:
    check_identity(proof(owner=owner), mac="mac-01", nonce="nonce", pinned_key=text(KEY), control_plane="ours")


@pytest.mark.parametrize(
    ("identity", "nonce", "reason", "words"),
    [
        (proof(signer=OTHER_KEY), "nonce", Reason.IDENTITY_MISMATCH, "did not prove"),
        (proof(signer=KEY, shown=OTHER_KEY), "nonce", Reason.IDENTITY_MISMATCH, "proved no other one"),
        (proof(), "another nonce", Reason.IDENTITY_MISMATCH, "old proof"),
        (proof().model_copy(update={"hardware_id": "x"}), "nonce", Reason.IDENTITY_MISMATCH, "did not prove"),
        (proof().model_copy(update={"signature": "%"}), "nonce", Reason.IDENTITY_MISMATCH, "did not prove"),
        (proof(owner="theirs"), "nonce", Reason.OTHER_CONTROL_PLANE, "theirs"),
    ],
)
def test_a_bad_proof_is_refused(identity: Identity, nonce: str, reason: Reason, words: str) -> None:
    with pytest.raises(MacRejected, match=words) as trouble:
        check_identity(identity, mac="mac-01", nonce=nonce, pinned_key=text(KEY), control_plane="ours")
    assert trouble.value.reason is reason


def test_a_new_key_is_named_with_what_an_admin_types_to_accept_it() -> None:
    new = proof(signer=OTHER_KEY, shown=OTHER_KEY)
    with pytest.raises(MacRejected) as trouble:
        check_identity(new, mac="mac-01", nonce="nonce", pinned_key=text(KEY), control_plane="ours")
    assert trouble.value.reason is Reason.IDENTITY_MISMATCH
    patch = json.dumps({"spec": {"ledgerPublicKey": text(OTHER_KEY)}})
    assert f"kubectl patch macagent mac-01 --type=merge -p '{patch}'" in trouble.value.message


def test_what_nobody_proved_is_no_command_to_type() -> None:
    chosen = proof().model_copy(update={"public_key": "'; rm -rf ~ #"})
    with pytest.raises(MacRejected) as trouble:
        check_identity(chosen, mac="mac-01", nonce="nonce", pinned_key=text(KEY), control_plane="ours")
    assert "kubectl" not in trouble.value.message and "rm -rf" not in trouble.value.message


def test_a_connection_to_an_agent_outlives_the_pause_between_two_renewals_and_the_agent_closes_it_later() -> None:
    kept_seconds = KEEPALIVE_SECONDS
    agent_seconds = build_server(Starlette()).config.timeout_keep_alive
    assert SessionTiming().longest_renewal_interval_seconds < kept_seconds < agent_seconds
