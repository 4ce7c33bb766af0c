"""The record of a Mac and its ledger book: what a view shows after which message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.ledger_row import ledger_row

from voxfleet_agent.ledger import public_key_text
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.ledger import Activity, ChainHead, SignedRow, row_hash, sign
from voxfleet_api.machine_messages import LaneContention, MachineFacts, PoolFacts
from voxfleet_api.protocol import AttemptState, AttemptStatus, LedgerChain, LedgerSpan, ShardProgress
from voxfleet_operator.fleet.ledger_book import LedgerBook
from voxfleet_operator.fleet.mac_record import MacRecord
from voxfleet_operator.fleet.older_chains import OlderChain, StoredHead, left_to_read
from voxfleet_operator.fleet.verified_row import (
    LONGEST_ROW_MILLISECONDS,
    MOST_AUDIO_MILLISECONDS,
    NO_MONTH,
    VerifiedRow,
)

KEY = Ed25519PrivateKey.generate()
OURS, OTHERS = "cluster-1", "cluster-2"
A = AttemptKey("shard-a", 1)


def now() -> datetime:
    return datetime(2026, 11, 30, tzinfo=UTC)


def chain(*owners: str, chain_id: str = "chain-1") -> list[SignedRow]:
    """Rows of attempt A, one second each, of these control planes."""
    rows: list[SignedRow] = []
    for owner in owners:
        row = ledger_row(
            len(rows),
            row_hash(rows[-1].row) if rows else "0" * 64,
            chain_id=chain_id,
            control_plane=owner,
            shard_uid=A.shard_uid,
            attempt=A.attempt,
            activity=tuple(Activity)[len(rows) % 3],
            audio_milliseconds=10,
        )
        rows.append(sign(row, KEY))
    return rows


def status(state: AttemptState, last_sequence: int | None = None, control_plane: str = OURS) -> AttemptStatus:
    span = (
        None if last_sequence is None else LedgerSpan(chain_id="chain-1", first_sequence=0, last_sequence=last_sequence)
    )
    return AttemptStatus(
        shard_uid=A.shard_uid,
        attempt=A.attempt,
        spec_digest="",
        control_plane=control_plane,
        namespace="speech",
        job=JobRef(name="night", uid="job"),
        shard_name="night-00000",
        stage=Stage.PROCESS,
        state=state,
        ledger=span,
    )


@pytest.fixture
def book() -> LedgerBook:
    book = LedgerBook(KEY.public_key(), OURS, now)
    book.resume("chain-1", -1)
    return book


@pytest.fixture
def record(book: LedgerBook) -> MacRecord:
    return MacRecord("mac-01", OURS, book)


def test_rows_add_up_per_attempt_and_activity(book: LedgerBook) -> None:
    assert book.add(chain(OURS, OURS, OURS, OURS)) == {A}
    usage = book.usage[A]
    assert (usage.setup_milliseconds, usage.work_milliseconds, usage.cleanup_milliseconds) == (2000, 1000, 1000)
    assert (usage.first_sequence, usage.last_sequence, usage.rows, usage.audio_milliseconds) == (0, 3, 4, 40)


def test_rows_of_another_control_plane_are_verified_but_not_counted(book: LedgerBook) -> None:
    assert book.add(chain(OTHERS, OURS)) == {A}
    assert book.last_sequence == 1 and book.usage[A].rows == 1


def test_nothing_counts_after_a_bad_row(book: LedgerBook) -> None:
    rows = chain(OURS, OURS, OURS)
    rows[1] = rows[1].model_copy(update={"signature": rows[0].signature})
    book.add(rows)
    assert book.error is not None and book.error.startswith("ledger row chain-1#1")
    assert book.usage[A].rows == 1
    assert book.add(chain(OURS, OURS)[1:]) == set()


def test_after_a_reconnect_a_mended_chain_goes_on(book: LedgerBook) -> None:
    rows = chain(OURS, OURS)
    book.add([rows[0], rows[0]])
    assert book.error is not None
    book.resume("chain-1", 1)
    assert book.add(rows[1:]) == {A} and book.error is None


def test_a_chain_that_became_shorter_is_an_error(book: LedgerBook) -> None:
    book.add(chain(OURS, OURS))
    book.resume("chain-1", 0)
    assert book.error is not None and "chain-1#1" in book.error and "restored" in book.error


def test_an_ended_attempt_in_an_unknown_state_waits_for_its_rows_too(record: MacRecord) -> None:
    ended = status(AttemptState.RUNNING, 0).model_copy(update={"state": "Evicted", "ended": True})
    record.attempt_reported(ended)
    assert record.lacks_rows and not record.view.attempts[A].has_ended
    record.rows_delivered(chain(OURS))
    assert record.view.attempts[A] == ended


def test_a_new_chain_starts_over(book: LedgerBook) -> None:
    book.add(chain(OURS, OURS))
    book.resume("chain-2", -1)
    assert book.last_sequence == -1
    book.add(chain(OURS, chain_id="chain-2"))
    assert book.error is None and book.usage[A].chain_id == "chain-2"
    assert book.usage[A].rows == 3, "the attempt went on after its agent had lost its state"
    assert (book.usage[A].first_sequence, book.usage[A].last_sequence) == (0, 0)


def test_a_chain_that_comes_back_counts_once(book: LedgerBook) -> None:
    book.add(chain(OURS, OURS))
    book.resume("chain-2", -1)
    book.resume("chain-1", 1)
    assert book.add(chain(OURS, OURS)) == {A}
    assert book.usage[A].rows == 2


def test_a_chain_that_comes_back_between_others_counts_once(book: LedgerBook) -> None:
    book.add(chain(OURS, OURS))
    book.resume("chain-2", -1)
    book.add(chain(OURS, chain_id="chain-2"))
    book.resume("chain-1", 1)
    assert book.usage[A].rows == 1
    book.add(chain(OURS, OURS))
    assert book.usage[A].rows == 3


def test_rows_of_a_chain_that_was_left_behind_count_once_and_before_the_current_one(book: LedgerBook) -> None:
    book.add(chain(OURS, OURS))
    older = OlderChain("chain-0", public_key_text(KEY), ChainHead("chain-0"))
    checked = book.check(chain(OURS, OURS, OURS, chain_id="chain-0"), older.after, older)
    for _ in range(2):  # again after a break
        book.take_older(checked)
        assert [(row.chain_id, row.sequence) for row in book.rows] == [
            ("chain-0", 0),
            ("chain-0", 1),
            ("chain-0", 2),
            ("chain-1", 0),
            ("chain-1", 1),
        ]
    assert book.usage[A].rows == 5 and book.usage[A].chain_id == "chain-1"
    assert {row.ledger_key for row in book.rows} == {public_key_text(KEY), ""}


def test_a_bad_row_of_a_chain_that_was_left_behind_is_named_and_stops_nothing_else(book: LedgerBook) -> None:
    rows = chain(OURS, OURS, chain_id="chain-0")
    rows[1] = rows[1].model_copy(update={"hash": "f" * 64})
    older = OlderChain("chain-0", public_key_text(KEY), ChainHead("chain-0"))
    for _ in range(2):
        book.take_older(book.check(rows, older.after, older))
    assert book.error is None and [row.sequence for row in book.rows] == [0]
    (error,) = book.older_errors
    assert "chain-0#1" in error


OLD, NEW, THEIRS = "old-key", "new-key", "a-key-that-nobody-pinned"


@pytest.mark.parametrize(
    ("listed", "stored", "expected"),
    [
        ([("now", NEW, 5)], {}, []),
        ([("now", NEW, 5), ("before", NEW, 2)], {}, [("before", NEW, -1)]),
        ([("now", NEW, 5), ("before", NEW, 2)], {(NEW, "before"): 2}, []),
        ([("now", NEW, 5), ("before", OLD, 2)], {}, []),
        ([("now", NEW, 5), ("before", OLD, 2)], {(OLD, "before"): 0}, [("before", OLD, 0)]),
        ([("now", NEW, 5), ("before", THEIRS, 2)], {(OLD, "before"): 0}, []),
        ([("now", NEW, 5), ("before", None, 2)], {}, []),
        ([("now", NEW, 5), ("b", NEW, 1), ("a", NEW, 1)], {}, [("a", NEW, -1), ("b", NEW, -1)]),
    ],
)
def test_which_chains_that_were_left_behind_are_read(
    listed: list[tuple[str, str | None, int]],
    stored: dict[tuple[str, str], int],
    expected: list[tuple[str, str, int]],
) -> None:
    """Of a key that was never pinned nothing is read, whatever the Mac says."""
    chains = [LedgerChain(chain_id=name, ledger_key=key, sequence=newest) for name, key, newest in listed]

    def head(key: str, name: str) -> ChainHead | None:
        return ChainHead(name, stored[key, name], "f" * 64) if (key, name) in stored else None

    found = left_to_read(chains, "now", [NEW], head)
    assert [(chain.chain_id, chain.ledger_key, chain.after.sequence) for chain in found] == expected


def test_a_chain_goes_on_behind_its_stored_head() -> None:
    rows = chain(OURS, OURS, OURS)
    book = LedgerBook(KEY.public_key(), OURS, now)
    book.resume("chain-1", 2, ChainHead("chain-1", 1, rows[1].hash))
    assert book.last_sequence == 1
    assert book.add(rows[2:]) == {A} and book.error is None
    assert book.usage[A].rows == 1 and [row.sequence for row in book.rows] == [2]


def test_a_stored_head_that_the_chain_does_not_continue_is_an_error() -> None:
    book = LedgerBook(KEY.public_key(), OURS, now)
    book.resume("chain-1", 2, ChainHead("chain-1", 1, "f" * 64))
    book.add(chain(OURS, OURS, OURS)[2:])
    assert book.error is not None and "chain-1#2" in book.error
    book = LedgerBook(KEY.public_key(), OURS, now)
    book.resume("chain-1", 0, ChainHead("chain-1", 1, "f" * 64))
    assert book.error is not None and "restored" in book.error


def test_a_check_changes_nothing_and_counts_only_at_its_place(book: LedgerBook) -> None:
    rows = chain(OURS, OURS)
    checked = book.check(rows, book.head)
    assert book.last_sequence == -1 and book.usage == {}
    book.add(rows[:1])
    assert book.take(checked) == set() and book.usage[A].rows == 1
    assert book.take(book.check(rows[1:], book.head)) == {A} and book.usage[A].rows == 2


def heads(*stored: ChainHead) -> StoredHead:
    """What statements count, all under one key."""
    return lambda key, chain_id: next((head for head in stored if key == "key" and head.chain_id == chain_id), None)


def test_settled_rows_leave_the_book_and_their_attempts_with_the_last(record: MacRecord) -> None:
    rows = chain(OURS, OURS, OURS)
    record.rows_delivered(rows)
    record.rows_settled("key", lambda key, chain_id: None)
    assert [row.sequence for row in record.view.rows] == [0, 1, 2]
    record.rows_settled("key", heads(ChainHead("chain-1", 1, rows[1].hash)))
    assert [row.sequence for row in record.view.rows] == [2] and record.view.usage[A].rows == 3
    record.book.resume("chain-2", -1)
    record.rows_settled("key", heads(ChainHead("chain-1", 2, rows[2].hash)))
    assert record.view.rows == () and record.view.usage == {}


@pytest.mark.parametrize(
    ("wall_start", "month"),
    [
        ("yesterday", NO_MONTH),
        ("2026-11-20T22:00:00.000Z", "2026-11"),
        ("2026-12-31T23:59:59.999Z", "2026-12"),
        ("2027-01-01T00:00:00.000Z", NO_MONTH),
        ("2024-11-01T00:00:00.000Z", "2024-11"),
        ("2024-10-31T23:59:59.999Z", NO_MONTH),
        ("9999-12-31T00:00:00.000Z", NO_MONTH),
        ("2026-11-31T22:00:00.000Z", NO_MONTH),
        ("2026-11-20T22:00:00.000", NO_MONTH),
        ("2026-11-20T22:00:00.000+05:00", NO_MONTH),
        ("2026-11-", NO_MONTH),
    ],
)
def test_a_row_has_a_month_whatever_its_clock_says_and_a_mac_has_few(wall_start: str, month: str) -> None:
    assert VerifiedRow.of(sign(ledger_row(wall_start=wall_start), KEY), OURS, now()).month == month


def test_a_row_whose_end_is_no_time_is_of_no_month() -> None:
    row = ledger_row(wall_start="2026-11-20T22:00:00.000Z", wall_end="2026-11-31T22:00:00.000Z")
    assert VerifiedRow.of(sign(row, KEY), OURS, now()).month == NO_MONTH


@pytest.mark.parametrize(
    "too_much",
    [
        {"monotonic_milliseconds": LONGEST_ROW_MILLISECONDS + 1},
        {"audio_milliseconds": MOST_AUDIO_MILLISECONDS + 1},
        {"monotonic_milliseconds": 10**30},
    ],
)
def test_a_row_that_stands_for_more_than_can_be_ends_what_is_believed(
    record: MacRecord, too_much: dict[str, int]
) -> None:
    sound = sign(ledger_row(), KEY)
    wild = sign(ledger_row(sequence=1, previous_hash=sound.hash, **too_much), KEY)
    record.rows_delivered([sound, wild])
    assert record.view.ledger_error is not None and "chain-1#1" in record.view.ledger_error
    assert [row.sequence for row in record.view.rows] == [0] and record.book.last_sequence == 0


def test_an_event_from_before_the_list_takes_no_end_back(record: MacRecord) -> None:
    record.attempt_reported(status(AttemptState.SUCCEEDED))
    assert record.attempt_reported(status(AttemptState.RUNNING)) == set()
    assert record.view.attempts[A].state is AttemptState.SUCCEEDED
    assert record.attempt_reported(status(AttemptState.DELETING)) == {A.shard_uid}


def test_an_end_is_shown_once_its_rows_are_verified(record: MacRecord) -> None:
    record.attempt_reported(status(AttemptState.RUNNING))
    assert record.attempt_reported(status(AttemptState.SUCCEEDED, 1)) == set()
    assert record.view.attempts[A].state is AttemptState.RUNNING
    record.rows_delivered(chain(OURS)[:1])
    assert record.lacks_rows
    assert record.rows_delivered(chain(OURS, OURS)[1:]) == {A.shard_uid}
    assert record.view.attempts[A].state is AttemptState.SUCCEEDED and record.view.usage[A].rows == 2


def test_a_new_attempt_that_waits_for_rows_shows_as_finishing(record: MacRecord) -> None:
    assert record.attempts_listed([status(AttemptState.SUCCEEDED, 0)]) == {A.shard_uid}
    assert record.view.attempts[A].state is AttemptState.FINISHING


def test_an_end_without_rows_is_shown_at_once(record: MacRecord) -> None:
    record.attempt_reported(status(AttemptState.SUCCEEDED))
    assert record.view.attempts[A].state is AttemptState.SUCCEEDED


def test_named_rows_that_do_not_exist_are_an_error_and_release_the_attempt(record: MacRecord) -> None:
    record.attempt_reported(status(AttemptState.FAILED, 4))
    assert record.rows_exhausted() == {A.shard_uid}
    assert record.view.attempts[A].state is AttemptState.FAILED
    assert record.view.ledger_error is not None and "chain-1#4" in record.view.ledger_error


def test_an_answer_never_overwrites_what_an_event_said(record: MacRecord) -> None:
    record.attempt_reported(status(AttemptState.RUNNING))
    assert record.attempt_accepted(status(AttemptState.ACCEPTED)) == set()
    assert record.view.attempts[A].state is AttemptState.RUNNING


def test_attempts_of_another_control_plane_are_not_ours(record: MacRecord) -> None:
    assert record.attempt_reported(status(AttemptState.RUNNING, control_plane=OTHERS)) == set()
    assert record.attempts_listed([status(AttemptState.RUNNING, control_plane=OTHERS)]) == set()
    assert record.view.attempts == {}


def test_what_a_list_lacks_is_gone(record: MacRecord) -> None:
    record.attempt_reported(status(AttemptState.RUNNING))
    assert record.attempts_listed([]) == {A.shard_uid}
    assert record.view.attempts == {}


def test_losing_contact_names_the_shards_that_may_still_run(record: MacRecord) -> None:
    record.connection_changed(True, Reason.CONNECTED, "")
    record.attempt_reported(status(AttemptState.RUNNING))
    assert record.connection_changed(False, Reason.SSH_UNREACHABLE, "gone") == {A.shard_uid}
    assert record.connection_changed(False, Reason.SSH_UNREACHABLE, "gone") is None
    assert record.connection_changed(False, Reason.SSH_UNREACHABLE, "still gone") == set()


def test_a_view_does_not_change_under_its_reader(record: MacRecord) -> None:
    before = record.view
    record.attempt_reported(status(AttemptState.RUNNING))
    assert before.attempts == {} and A in record.view.attempts


@pytest.mark.parametrize(
    ("change", "wakes"),
    [
        ({}, False),
        ({"progress": ShardProgress(total=180, done=6)}, False),
        ({"scratch_high_water_bytes": 5}, False),
        ({"lane": "offline/0"}, True),
        ({"state": AttemptState.PARKED}, True),
        ({"state": AttemptState.SUCCEEDED, "progress": ShardProgress(total=180, done=180)}, True),
    ],
)
def test_progress_shows_and_wakes_nobody(record: MacRecord, change: dict[str, object], wakes: bool) -> None:
    running = status(AttemptState.RUNNING)
    assert record.attempt_reported(running) == {A.shard_uid}
    changed = running.model_copy(update=change)
    assert record.attempt_reported(changed) == ({A.shard_uid} if wakes else set())
    assert record.view.attempts[A] == changed
    other = MacRecord("mac-02", OURS, record.book)
    other.attempt_reported(running)
    assert other.attempts_listed([changed]) == ({A.shard_uid} if wakes else set())


MACHINE = MachineFacts(
    hardware_id="h",
    boot_id="b",
    chip="M4",
    memory_bytes=1,
    os="macOS 26",
    versions={},
    runtime_compatible=True,
    runtime_message="",
    pools=(PoolFacts(name="offline", kind="Offline", lanes=1, free_lanes=1),),
    ledger_chain_id="chain-1",
    ledger_sequence=0,
)


@pytest.mark.parametrize(
    ("change", "wakes"),
    [
        ({"ledger_sequence": 9}, False),
        ({"pools": (PoolFacts(name="offline", kind="Offline", lanes=1, free_lanes=0),)}, False),
        ({"pools": (PoolFacts(name="offline", kind="Offline", lanes=2, free_lanes=1),)}, True),
        ({"loaded_models": ("sha256:1",)}, True),
        ({"runtime_compatible": False}, True),
        ({"contended_lanes": (LaneContention(lane="offline-0", slowdown_percent=200),)}, True),
    ],
)
def test_a_machine_that_works_wakes_nobody(record: MacRecord, change: dict[str, object], wakes: bool) -> None:
    assert record.machine_reported(MACHINE)
    changed = MACHINE.model_copy(update=change)
    assert record.machine_reported(changed) is wakes
    assert record.view.machine == changed
