"""What becomes of the calls that a session makes for its reconcilers. Real sshd, real HTTP."""

from __future__ import annotations

import json

from pydantic import SecretStr
from tests.component.fleet.rig import DIGEST, REQUEST, A, B, Rig
from tests.component.fleet.stand_in_agent import StandInAgent, attempt_status

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.protocol import AttemptRequest, AttemptState, S3Credentials
from voxfleet_operator.fleet.delivery import CALLS_AT_ONCE
from voxfleet_operator.fleet.mac_view import PENDING, Order, Outcome


async def test_put_and_delete_reach_the_agent_with_credentials_and_a_large_body(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    request = AttemptRequest(
        spec_digest=DIGEST,
        spec={"padding": "x" * 8_000_000},  # several SSH windows
        lease_seconds=60,
        credentials=S3Credentials(access_key_id=SecretStr("me"), secret_access_key=SecretStr("s3cret"), region="eu"),
    )

    answer = await rig.put("mac-01", A, request)
    body = json.loads(mac.agent.calls(f"/v1/attempts/{A.shard_uid}/1")[-1].body)
    assert answer.outcome is Outcome.ACCEPTED
    assert body["credentials"] == {"accessKeyId": "me", "secretAccessKey": "s3cret", "region": "eu"}
    assert len(body["spec"]["padding"]) == 8_000_000
    assert rig.fleet.view("mac-01").attempts[A].state is AttemptState.ACCEPTED

    await rig.delete("mac-01", A)
    assert A not in rig.fleet.view("mac-01").attempts


async def test_an_event_from_before_brings_no_deleted_attempt_back(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    await rig.put("mac-01", A, REQUEST)
    await rig.delete("mac-01", A)

    await mac.agent.report(attempt_status(A.shard_uid, AttemptState.DELETING))
    await mac.agent.report(attempt_status(B.shard_uid, AttemptState.RUNNING))
    view = await rig.until("mac-01", lambda view: B in view.attempts)

    assert A not in view.attempts


async def test_a_call_under_way_when_the_tunnel_breaks_has_an_unknown_outcome(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    mac.agent.hold_answers()
    rig.fleet.put(rig.fleet.view("mac-01"), A, REQUEST)
    rig.fleet.delete(rig.fleet.view("mac-01"), B)
    await mac.agent.heard(f"/v1/attempts/{A.shard_uid}/1")

    mac.sshd.stop()
    suspect = await rig.until("mac-01", lambda view: not view.connected)

    answer = await rig.answered(lambda: rig.fleet.answer(suspect, Order.PUT, A))
    assert answer.outcome is Outcome.UNKNOWN
    assert {A.shard_uid, B.shard_uid} <= set().union(*(shard_uids for _, shard_uids in rig.changes))

    mac.agent.answer_again()
    mac.sshd.start()
    await rig.connected("mac-01")
    await rig.delete("mac-01", B)  # what was to be deleted still is


async def test_a_mac_that_answers_nothing_keeps_its_calls_to_itself(rig: Rig) -> None:
    hung = await rig.start_mac(StandInAgent(hardware_id="hardware-hung"))
    other = await rig.start_mac(StandInAgent(hardware_id="hardware-other"))
    rig.fleet.ensure(hung.resource("hung"))
    rig.fleet.ensure(other.resource("other"))
    view = await rig.connected("hung")
    await rig.connected("other")
    hung.agent.hold_answers()
    keys = [AttemptKey(f"shard-{number}", 1) for number in range(2 * CALLS_AT_ONCE)]
    for key in keys:
        rig.fleet.put(view, key, REQUEST)
        rig.fleet.delete(view, AttemptKey(f"deleted-{key.shard_uid}", 1))

    assert (await rig.put("other", A, REQUEST)).outcome is Outcome.ACCEPTED
    await rig.delete("other", B)

    assert {rig.fleet.answer(view, Order.PUT, key) for key in keys} == {PENDING}
    calls = [call for call in hung.agent.seen if call.method in ("PUT", "DELETE")]
    assert len(calls) <= CALLS_AT_ONCE


async def test_an_old_epoch_is_reported_to_the_leader_and_then_accepted(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(held_epoch=7))
    rig.fleet.ensure(mac.resource("mac-01"))

    await rig.connected("mac-01")
    renewal = await mac.agent.heard("/v1/renew", more_than=1)

    assert rig.stale_epochs[0] == 7
    assert renewal.headers["voxfleet-epoch"] == "7"


async def test_an_epoch_that_nobody_had_is_not_believed_and_marks_its_mac(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(held_epoch=2**31 - 2))
    rig.fleet.ensure(mac.resource("mac-01"))

    message = await rig.refused("mac-01", Reason.EPOCH_NOT_BELIEVED)
    changes = len(rig.changes)
    await mac.agent.heard("/v1/renew", more_than=2)

    assert "2147483646" in message
    assert rig.stale_epochs == [], "the Lease could never be raised again"
    assert not [view for view in rig.seen[changes:] if view.connected], "it gets no work in between"
    mac.agent.held_epoch = 0
    await rig.connected("mac-01")


async def test_a_refusal_carries_the_agents_problem(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    mac.agent.held_epoch = 9

    refusal = (await rig.put("mac-01", A, REQUEST)).refusal
    assert refusal is not None and refusal.problem.held_epoch == 9
