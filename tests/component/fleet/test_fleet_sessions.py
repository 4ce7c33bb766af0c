"""What a session does when connections break, streams stall, Macs are slow and ledgers lie. Real sshd, real HTTP."""

from __future__ import annotations

import asyncio
import gc
import stat
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.component.fleet.rig import FAST, REQUEST, A, B, C, Rig
from tests.component.fleet.stand_in_agent import StandInAgent, attempt_status, next_row
from tests.rig.ledger_row import ATTEMPT_ACTIVITIES

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord
from voxfleet_api.ledger import Activity, ChainHead, SignedRow
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.fleet.ledger_book import CheckedRows, LedgerBook
from voxfleet_operator.fleet.mac_view import Order, Outcome, attempt_view
from voxfleet_operator.fleet.older_chains import OlderChain
from voxfleet_operator.fleet.ssh.transport import THREAD_END_SECONDS

ASSIGNED = AttemptRecord(attempt=1, mac="mac-01", outcome=AttemptOutcome.ASSIGNED)


async def test_a_killed_tunnel_is_dialled_again_and_no_change_is_missed(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    agent = mac.agent
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    await agent.report(attempt_status(A.shard_uid, AttemptState.RUNNING))
    await agent.report(attempt_status(B.shard_uid, AttemptState.RUNNING))
    await rig.until("mac-01", lambda view: B in view.attempts)

    mac.sshd.stop()
    suspect = await rig.until("mac-01", lambda view: not view.connected)
    assert suspect.attempts[A].state is AttemptState.RUNNING, "what was known is kept"
    await agent.seal(A.shard_uid, Activity.WORK)
    await agent.report(attempt_status(A.shard_uid, AttemptState.SUCCEEDED, (0, 0)))
    del agent.attempts[B.shard_uid]
    await agent.report(attempt_status(C.shard_uid, AttemptState.RUNNING))
    mac.sshd.start()

    view = await rig.connected("mac-01")
    assert {key: status.state for key, status in view.attempts.items()} == {
        A: AttemptState.SUCCEEDED,
        C: AttemptState.RUNNING,
    }
    assert view.usage[A].work_milliseconds == 1000
    lost_contact = rig.changes.index(("mac-01", frozenset({A.shard_uid, B.shard_uid})))
    told = frozenset().union(*(shards for _, shards in rig.changes[lost_contact + 1 :]))
    assert told >= {A.shard_uid, B.shard_uid, C.shard_uid}


async def test_a_suspect_mac_gets_no_renewals(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    first = await mac.agent.heard("/v1/renew", more_than=1)
    assert first.headers["voxfleet-epoch"] == "3"
    assert first.headers["voxfleet-leader"] == "leader-1"

    mac.sshd.stop()
    suspect = await rig.until("mac-01", lambda view: view.reason is Reason.SSH_UNREACHABLE)
    sent = rig.fleet.lease_granted_seconds(ASSIGNED)
    rig.fleet.put(suspect, A, REQUEST)
    assert rig.fleet.answer(suspect, Order.PUT, A) is None, "it is not kept for later: others decide meanwhile"
    assert sent is not None and rig.fleet.lease_granted_seconds(ASSIGNED) == sent

    renewals = len(mac.agent.calls("/v1/renew"))
    mac.sshd.start()
    await rig.connected("mac-01")
    await mac.agent.heard("/v1/renew", more_than=renewals)
    again = rig.fleet.lease_granted_seconds(ASSIGNED)
    assert again is not None and again > sent


async def test_leases_are_renewed_before_history_is_read(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    for activity in ATTEMPT_ACTIVITIES:
        await mac.agent.seal(A.shard_uid, activity, event=False)
    mac.agent.hold_history()
    rig.fleet.ensure(mac.resource("mac-01"))

    await mac.agent.heard("/v1/ledger")
    paths = [call.path for call in mac.agent.seen]
    assert paths.index("/v1/renew") < paths.index("/v1/ledger")
    await mac.agent.heard("/v1/renew", more_than=2)
    assert not rig.fleet.view("mac-01").connected

    mac.agent.history_again()
    assert (await rig.connected("mac-01")).usage[A].rows == 3


async def test_history_is_verified_off_the_event_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[threading.Thread] = set()
    check = LedgerBook.check

    def watched(
        book: LedgerBook, rows: Iterable[SignedRow], after: ChainHead | None, older: OlderChain | None = None
    ) -> CheckedRows:
        threads.add(threading.current_thread())
        return check(book, rows, after, older)

    monkeypatch.setattr(LedgerBook, "check", watched)
    mac = await rig.start_mac(StandInAgent())
    await mac.agent.seal(A.shard_uid, Activity.WORK, event=False)
    rig.fleet.ensure(mac.resource("mac-01"))
    assert (await rig.connected("mac-01")).usage[A].rows == 1
    assert threads and threading.current_thread() not in threads


async def test_history_is_read_from_the_stored_head_and_settled_rows_are_forgotten(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rows = [await mac.agent.seal(A.shard_uid, activity, event=False) for activity in ATTEMPT_ACTIVITIES]
    rig.stored_head = ChainHead("chain-1", 1, rows[1].hash)
    rig.fleet.ensure(mac.resource("mac-01"))

    view = await rig.connected("mac-01")
    assert [call.query for call in mac.agent.calls("/v1/ledger")[:2]] == ["after=0&limit=1", "after=1&limit=200"]
    assert view.usage[A].rows == 1 and [row.sequence for row in view.rows] == [2]

    rig.stored_head = ChainHead("chain-1", 2, rows[2].hash)
    await mac.agent.heard("/v1/machine", more_than=len(mac.agent.calls("/v1/machine")) + 1)
    assert rig.fleet.view("mac-01").rows == () and rig.fleet.view("mac-01").usage == {}


async def test_a_copy_of_the_state_that_went_on_otherwise_is_noticed_at_the_head(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rows = [await mac.agent.seal(A.shard_uid, activity, event=False) for activity in ATTEMPT_ACTIVITIES]
    rig.stored_head = ChainHead("chain-1", 1, "f" * 64)
    rig.fleet.ensure(mac.resource("mac-01"))
    view = await rig.connected("mac-01")
    assert view.ledger_error is not None and "chain-1#1: is another one than before" in view.ledger_error
    assert "voxfleet-agent ledger new-chain" in view.ledger_error
    assert view.rows == () and view.usage == {} and len(rows) == 3, "nothing of it counts"


async def test_rows_of_a_chain_that_was_left_behind_are_read_and_a_bad_one_stops_nothing_else(rig: Rig) -> None:
    agent = StandInAgent()
    left: list[SignedRow] = []
    for activity in ATTEMPT_ACTIVITIES:
        left.append(next_row(left, agent.key, B.shard_uid, activity, chain_id="chain-0"))
    forged: list[SignedRow] = []
    for activity in ATTEMPT_ACTIVITIES:
        forged.append(next_row(forged, agent.key, B.shard_uid, activity, chain_id="chain-x"))
    forged[1] = forged[1].model_copy(update={"hash": "f" * 64})
    agent.older = {"chain-0": left, "chain-x": forged}
    mac = await rig.start_mac(agent)
    await agent.seal(A.shard_uid, Activity.WORK, event=False)
    rig.fleet.ensure(mac.resource("mac-01"))
    view = await rig.until(
        "mac-01", lambda view: view.connected and len(view.rows) == 5 and len(view.older_errors) == 1
    )
    read = [(row.chain_id, row.sequence, row.ledger_key) for row in view.rows]
    assert read[:4] == [
        (name, number, agent.public_key) for name, number in (*(("chain-0", n) for n in range(3)), ("chain-x", 0))
    ]
    assert read[4][:2] == ("chain-1", 0)
    assert view.ledger_error is None and "chain-x#1" in view.older_errors[0]
    assert view.usage[A].rows == 1 and view.usage[B].rows == 4


async def test_a_mac_whose_attempts_cannot_be_read_is_renewed_once(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(list_unreadable=True))
    rig.fleet.ensure(mac.resource("mac-01"))

    message = await rig.refused("mac-01", Reason.AGENT_UNREACHABLE)
    await mac.agent.heard("/v1/attempts", more_than=2)

    assert "/v1/attempts: the answer cannot be read" in message
    assert len(mac.agent.calls("/v1/renew")) == 1, "its leases run out, and it counts as lost"
    mac.agent.list_unreadable = False
    await rig.connected("mac-01")
    await mac.agent.heard("/v1/renew", more_than=1)


async def test_a_session_outlives_a_fault_in_what_it_wakes(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")

    rig.faults = [RuntimeError("a fault of ours"), RuntimeError("and another")]
    mac.sshd.stop()
    await rig.until("mac-01", lambda view: not view.connected)
    mac.sshd.start()

    await rig.connected("mac-01")
    await mac.agent.heard("/v1/renew")


async def test_the_views_of_a_fleet_are_looked_up_and_not_copied(rig: Rig) -> None:
    """Reconcilers ask for all of them at every turn, on a fleet of 500 Macs too."""
    mac = await rig.start_mac(StandInAgent())
    views = rig.fleet.views()
    rig.fleet.ensure(mac.resource("mac-01"))
    connected = await rig.connected("mac-01")
    assert list(views) == ["mac-01"] and views["mac-01"] is connected


async def test_a_stalled_stream_is_noticed(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")

    mac.agent.silent = True
    message = await rig.refused("mac-01", Reason.AGENT_UNREACHABLE)

    assert "no event and no heartbeat" in message
    mac.agent.silent = False
    await rig.connected("mac-01")


async def test_a_slow_mac_does_not_delay_another(rig: Rig) -> None:
    slow = await rig.start_mac(StandInAgent(hardware_id="hardware-slow"))
    quick = await rig.start_mac(StandInAgent(hardware_id="hardware-quick"))
    slow.agent.hold_answers()
    rig.fleet.ensure(slow.resource("slow"))
    await slow.agent.heard("/v1/machine")

    rig.fleet.ensure(quick.resource("quick"))
    await rig.connected("quick")
    assert (await rig.put("quick", A, REQUEST)).outcome is Outcome.ACCEPTED

    assert not rig.fleet.view("slow").connected
    slow.agent.answer_again()
    await rig.connected("slow")


async def test_an_agent_that_renews_leases_and_obeys_no_order_is_given_up(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(deaf=True))
    strict = Rig(mac.sshd.directory, rig.stack, timing=replace(FAST, call_seconds=0.5, deaf_seconds=0.2))
    strict.secrets = rig.secrets
    rig.stack.push_async_callback(strict.fleet.close)
    strict.fleet.ensure(mac.resource("mac-01"))
    view = await strict.connected("mac-01")

    strict.fleet.delete(view, A)
    strict.fleet.put(view, B, REQUEST)

    assert "left a DELETE undone" in await strict.refused("mac-01", Reason.AGENT_UNREACHABLE)
    renewals = len(mac.agent.calls("/v1/renew"))
    mac.agent.deaf = False
    rig.fleet.ensure(mac.resource("mac-01"))  # of another operator, which it answers at once
    await mac.agent.heard("/v1/renew", more_than=renewals)
    assert not strict.fleet.view("mac-01").connected, "the first one stays away until its leases have run out"


async def test_another_machine_under_the_same_name_has_attempts_of_its_own(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    await mac.agent.report(attempt_status(A.shard_uid, AttemptState.RUNNING))
    first = await rig.until("mac-01", lambda view: A in view.attempts)
    await mac.agent.heard("/v1/renew")
    assert first.identity is not None
    record = ASSIGNED.model_copy(update={"machine": first.identity})
    granted = rig.fleet.lease_granted_seconds(record)

    copy = await rig.start_mac(StandInAgent(key=mac.agent.key, hardware_id="hardware-2"))  # its state was copied
    rig.fleet.ensure(copy.resource("mac-01"))
    second = await rig.until("mac-01", lambda view: view.connected and view.identity != first.identity)
    await copy.agent.heard("/v1/renew")

    assert second.attempts == {} and attempt_view(record, rig.fleet.views()) is None
    assert granted is not None and rig.fleet.lease_granted_seconds(record) is not None
    renewed = rig.fleet.lease_granted_seconds(ASSIGNED.model_copy(update={"machine": second.identity}))
    assert renewed is not None and renewed > (rig.fleet.lease_granted_seconds(record) or renewed)
    rig.fleet.put(first, A, REQUEST)
    assert rig.fleet.answer(first, Order.PUT, A) is None and rig.fleet.delete(first, A) is None


async def test_one_changed_byte_names_the_row_and_stops_the_usage(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    agent = mac.agent
    for activity in (Activity.SETUP, Activity.WORK, Activity.CLEANUP):
        await agent.seal(A.shard_uid, activity, event=False)
    row = agent.rows[1]
    agent.rows[1] = row.model_copy(update={"row": row.row.model_copy(update={"monotonic_milliseconds": 1001})})
    agent.attempts[A.shard_uid] = attempt_status(A.shard_uid, AttemptState.SUCCEEDED, (0, 2))

    rig.fleet.ensure(mac.resource("mac-01"))
    view = await rig.connected("mac-01")

    assert view.ledger_error is not None and "chain-1#1" in view.ledger_error
    assert view.usage[A].machine_milliseconds == 1000, "only the row before the bad one counts"
    assert view.attempts[A].state is AttemptState.SUCCEEDED, "work goes on"


async def test_an_attempt_ends_only_with_its_rows_verified(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    agent = mac.agent
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    for activity in (Activity.SETUP, Activity.WORK, Activity.CLEANUP):
        await agent.seal(A.shard_uid, activity, event=False)  # no row event: the rows have to be fetched
    await agent.report(attempt_status(A.shard_uid, AttemptState.SUCCEEDED, (0, 2)))

    view = await rig.until(
        "mac-01", lambda view: A in view.attempts and view.attempts[A].state is AttemptState.SUCCEEDED
    )
    assert view.usage[A].rows == 3 and view.usage[A].machine_milliseconds == 3000
    assert view.usage[A].audio_milliseconds == 500


async def test_an_attempt_whose_rows_do_not_exist_is_a_ledger_error(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    mac.agent.attempts[A.shard_uid] = attempt_status(A.shard_uid, AttemptState.SUCCEEDED, (0, 5))

    rig.fleet.ensure(mac.resource("mac-01"))
    view = await rig.connected("mac-01")

    assert view.ledger_error is not None and "chain-1#5" in view.ledger_error
    assert view.attempts[A].state is AttemptState.SUCCEEDED


async def test_a_changed_spec_dials_again_and_an_equal_one_does_not(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")

    rig.fleet.ensure(mac.resource("mac-01"))
    assert rig.fleet.view("mac-01").connected
    rig.fleet.ensure(mac.resource("mac-01", user="somebody-else"))

    assert "user somebody-else" in await rig.refused("mac-01", Reason.SSH_AUTHENTICATION_FAILED)
    assert len(mac.agent.calls("/v1/events")) == 1


async def test_the_socket_is_for_this_process_only(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    before = sockets()
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")

    [path] = sockets() - before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    mac.sshd.stop()
    await rig.until("mac-01", lambda view: not view.connected)
    mac.sshd.start()
    await rig.connected("mac-01")
    assert len(sockets() - before) == 1, "the old socket is gone"


async def test_a_server_that_breaks_off_the_handshake_leaves_no_thread(rig: Rig) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-something\r\n")
        await writer.drain()
        await reader.readline()
        writer.close()

    mac = await rig.start_mac(StandInAgent())
    threads = set(threading.enumerate())
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        rig.fleet.ensure(mac.resource("mac-01", port=server.sockets[0].getsockname()[1]))
        assert "check that spec.ssh.port" in await rig.refused("mac-01", Reason.SSH_UNREACHABLE)
        await rig.fleet.close()

    assert lingering(threads) == set()


async def test_closing_leaves_no_thread_no_descriptor_no_task_and_no_socket(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    await asyncio.to_thread(gc.collect)  # starts the loop's own pool thread, which is not ours
    process = psutil.Process()
    files, threads, tasks = sockets(), set(threading.enumerate()), asyncio.all_tasks()
    descriptors = process.num_fds()
    other = Rig(mac.sshd.directory, rig.stack)
    other.secrets = rig.secrets
    other.fleet.ensure(mac.resource("mac-01"))
    await other.connected("mac-01")
    other.fleet.ensure(mac.resource("wrong", ledger_public_key="A" * 43 + "=", user="nobody-here"))
    await other.refused("wrong", Reason.SSH_AUTHENTICATION_FAILED)
    mac.sshd.stop()
    await other.until("mac-01", lambda view: not view.connected)
    mac.sshd.start()
    await other.connected("mac-01")
    assert sockets() > files and process.num_fds() > descriptors

    await other.fleet.close()
    await mac.agent.idle()
    gc.collect()

    assert {thread for thread in lingering(threads) if not thread.name.startswith("asyncio")} == set()
    assert asyncio.all_tasks() - tasks == set()
    assert sockets() == files
    assert process.num_fds() == descriptors


def lingering(before: set[threading.Thread]) -> set[threading.Thread]:
    """The threads that are not in `before` and have not ended in time: a cancelled timer ends soon, not at once."""
    extra = set(threading.enumerate()) - before
    for thread in extra:
        if not thread.name.startswith("asyncio"):
            thread.join(THREAD_END_SECONDS)
    return {thread for thread in extra if thread.is_alive()}


def sockets() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("voxfleet-*/*.sock"))
