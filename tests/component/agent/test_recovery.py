"""Recovery of a restarted agent from the journal and scratch of a killed one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.component.agent.agent_rig import COMMIT, process_spec

from voxfleet_agent.attempts.recovery import recover
from voxfleet_agent.journal import attempt_table, event_table, lane_holds
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_agent.ledger import (
    Ledger,
    chain_head,
    last_sequence,
    open_chain,
    page_after,
    public_key_text,
    stored_rows,
    verify_lines,
)
from voxfleet_agent.scratch import Scratch
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass
from voxfleet_api.ledger import Activity, LedgerError, verify
from voxfleet_api.protocol import AttemptFailure, AttemptState

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@dataclass
class KilledAgent:
    journal: Journal
    ledger: Ledger
    scratch: Scratch

    def key_of(self, chain_id: str) -> str:
        return self.ledger.public_key

    async def attempt(self, number: int, state: AttemptState, **changes: object) -> JournaledAttempt:
        spec = process_spec(f"shard-{number}")
        record = JournaledAttempt(AttemptKey(spec.shard_uid, 1), digest_of(spec), "cp", spec, state, **changes)  # type: ignore[arg-type] # by name
        await self.journal.write(lambda db: attempt_table.save(db, record))
        return record

    async def hold(self, record: JournaledAttempt, milliseconds: int, activity: Activity = Activity.WORK) -> LaneHold:
        start = "2026-11-20T00:00:00.000Z"
        begun = LaneHold(record.key, "offline-0", activity, "boot", start, start, 0, price_class="Offline")
        ticked = replace(
            begun, wall_end="2026-11-20T00:00:09.000Z", milliseconds=milliseconds, audio_milliseconds=5000, clips=2
        )
        await self.journal.write(lambda db: lane_holds.save(db, begun))
        await self.journal.write(lambda db: lane_holds.tick(db, ticked))
        return ticked


@pytest.fixture
async def killed(tmp_path: Path) -> AsyncIterator[KilledAgent]:
    journal = await Journal.open(tmp_path / "state", tmp_path / "state" / "journal.sqlite3")
    scratch = Scratch(tmp_path / "scratch", 1000, 0)
    chain_id = await journal.write(lambda db: open_chain(db, public_key_text(KEY)))
    yield KilledAgent(journal, Ledger(KEY, chain_id, "hw"), scratch)
    scratch.close()
    await journal.close()


async def test_time_up_to_the_last_tick_is_sealed_exactly_once(killed: KilledAgent) -> None:
    record = await killed.attempt(1, AttemptState.RUNNING, lane="offline-0")
    ticked = await killed.hold(record, 9000)
    first = await recover(killed.journal, killed.ledger, killed.scratch)
    second = await recover(killed.journal, killed.ledger, killed.scratch)
    assert (first.sealed_rows, second.sealed_rows) == (1, 0)
    (row,) = (await killed.journal.read(lambda db: page_after(db, killed.ledger.chain_id, -1, 10))).rows
    assert (row.row.monotonic_milliseconds, row.row.audio_milliseconds, row.row.activity) == (9000, 5000, Activity.WORK)
    assert (row.row.clips, row.row.price_class) == (2, "Offline")
    assert await killed.journal.write(lambda db: killed.ledger.seal(db, [ticked], record)) == []
    await killed.journal.write(lambda db: lane_holds.tick(db, ticked))
    assert await killed.journal.read(lane_holds.load_all) == []


@pytest.mark.parametrize(
    ("state", "failure", "after"),
    [
        (AttemptState.ACCEPTED, None, AttemptState.PARKED),
        (AttemptState.RUNNING, None, AttemptState.PARKED),
        (AttemptState.PARKED, None, AttemptState.PARKED),
        (AttemptState.FINISHING, None, AttemptState.SUCCEEDED),
        (
            AttemptState.FINISHING,
            AttemptFailure(failure_class=FailureClass.THROTTLED, message="m"),
            AttemptState.FAILED,
        ),
        (AttemptState.SUCCEEDED, None, AttemptState.SUCCEEDED),
        (AttemptState.FAILED, None, AttemptState.FAILED),
        (AttemptState.DELETING, None, None),
    ],
)
async def test_each_state_after_a_restart(
    killed: KilledAgent, state: AttemptState, failure: AttemptFailure | None, after: AttemptState | None
) -> None:
    record = await killed.attempt(1, state, failure=failure, result=None if failure else COMMIT, lane="offline-0")
    scratch = killed.scratch.open_attempt(record.key, 10_000)
    (scratch.path / "clip").write_bytes(b"x")
    scratch.close()
    recovered = await recover(killed.journal, killed.ledger, killed.scratch)
    assert [found.state for found in recovered.records] == ([] if after is None else [after])
    assert list(killed.scratch.attempts_path.iterdir()) == []
    stored = await killed.journal.read(attempt_table.load_all)
    assert stored == recovered.records
    states = await killed.journal.read(lambda db: [event.content["state"] for event in event_table.after(db, 0, 10)])
    assert states == ([] if after in (state, None) else [after])


async def test_one_changed_byte_is_found_and_its_row_named(killed: KilledAgent) -> None:
    for number in range(3):
        record = await killed.attempt(number, AttemptState.RUNNING)
        await killed.hold(record, 1000 + number)
    await recover(killed.journal, killed.ledger, killed.scratch)
    lines = await killed.journal.read(lambda db: list(stored_rows(db)))
    assert [head.sequence for head in verify_lines(iter(lines), killed.key_of)] == [2]
    for position, (name, line) in enumerate(lines):
        for column in range(len(line)):
            flipped = line[:column] + chr(ord(line[column]) ^ 1) + line[column + 1 :]
            changed = [*lines[:position], (name, flipped), *lines[position + 1 :]]
            with pytest.raises(LedgerError) as caught:
                verify_lines(iter(changed), killed.key_of)
            assert caught.value.row_name == name, flipped


async def test_a_damaged_newest_row_is_named_and_nothing_follows_it(killed: KilledAgent) -> None:
    await killed.hold(await killed.attempt(1, AttemptState.RUNNING), 1000)
    await recover(killed.journal, killed.ledger, killed.scratch)
    chain_id = killed.ledger.chain_id
    await killed.journal.write(lambda db: db.execute("UPDATE ledger_rows SET content = '{' || content"))
    await killed.hold(await killed.attempt(2, AttemptState.RUNNING), 1000)
    with pytest.raises(LedgerError) as caught:
        await recover(killed.journal, killed.ledger, killed.scratch)
    assert caught.value.row_name == f"{chain_id}#0"
    assert await killed.journal.read(lambda db: len(lane_holds.load_all(db))) == 1  # the time is not lost
    assert await killed.journal.read(lambda db: last_sequence(db, chain_id)) == 0
    assert (await killed.journal.read(lambda db: page_after(db, chain_id, -1, 9))).damaged_sequence == 0


async def test_changed_unused_bits_of_a_signature_are_found(killed: KilledAgent) -> None:
    await killed.hold(await killed.attempt(1, AttemptState.RUNNING), 1000)
    await recover(killed.journal, killed.ledger, killed.scratch)
    (signed,) = (await killed.journal.read(lambda db: page_after(db, killed.ledger.chain_id, -1, 10))).rows
    last = signed.signature[-3]
    changed = signed.model_copy(update={"signature": signed.signature[:-3] + chr(ord(last) + 1) + "=="})
    with pytest.raises(LedgerError, match=re.escape(signed.name)):
        verify([changed], KEY.public_key())


async def test_a_removed_or_repeated_row_is_found(killed: KilledAgent) -> None:
    for number in range(3):
        await killed.hold(await killed.attempt(number, AttemptState.RUNNING), 1000)
    await recover(killed.journal, killed.ledger, killed.scratch)
    lines = await killed.journal.read(lambda db: list(stored_rows(db)))
    for wrong in (lines[1:], [lines[0], lines[2]], [lines[0], lines[0], *lines[1:]]):
        with pytest.raises(LedgerError):
            verify_lines(iter(wrong), killed.key_of)


async def test_another_key_opens_another_chain(killed: KilledAgent) -> None:
    await killed.hold(await killed.attempt(1, AttemptState.RUNNING), 1000)
    await recover(killed.journal, killed.ledger, killed.scratch)
    other_key = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    other = await killed.journal.write(lambda db: open_chain(db, public_key_text(other_key)))
    same = await killed.journal.write(lambda db: open_chain(db, public_key_text(other_key)))
    assert other == same != killed.ledger.chain_id
    assert (await killed.journal.read(lambda db: chain_head(db, other))).sequence == -1
    assert (await killed.journal.read(lambda db: chain_head(db, killed.ledger.chain_id))).sequence == 0
