"""What the operator keeps of a row until it is in the archive."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.ledger_row import ledger_row

from voxfleet_api.ledger import Activity, LedgerError, RowOwner, SignedRow, sign, verify
from voxfleet_operator.fleet.ledger_book import LedgerBook
from voxfleet_operator.fleet.verified_row import MAX_ROW_BYTES, VerifiedRow

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OURS = "cluster-1"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
MAX_WAITING_ROW_BYTES = 1300


def uid(number: int) -> str:
    return str(UUID(int=number << 64 | 0x4000_8000_0000_0000_0000_0000))


def test_the_signed_row_is_kept_as_it_was_served_and_verifies() -> None:
    row = ledger_row(price_class="Offline", billing_key="speech-42", clips=3, paused_milliseconds=5, lane="offline/1")
    served = sign(row, KEY)
    kept = VerifiedRow.of(SignedRow.load(json.loads(json.dumps(served.dump()))), OURS, NOW)
    assert json.loads(kept.content) == served.dump()
    assert verify([SignedRow.load_json(kept.content)], KEY.public_key()) is not None
    assert (kept.owner, kept.lane, kept.billing_key) == (row.owner, "offline/1", "speech-42")
    assert (kept.wall_start, kept.wall_end) == (row.wall_start, row.wall_end)
    assert (kept.clips, kept.paused_milliseconds) == (3, 5)


def test_a_row_of_an_older_agent_has_its_job_as_owner() -> None:
    row = ledger_row(owner=None, namespace="speech", job_name="nightly", job_uid="job-uid")
    kept = VerifiedRow.of(sign(row, KEY), OURS, NOW)
    assert kept.owner == RowOwner(kind="AudioBatchJob", namespace="speech", name="nightly", uid="job-uid")
    assert kept.namespace == "speech" and "owner" not in json.loads(kept.content)["row"]


def test_a_row_with_more_text_than_a_row_needs_is_refused() -> None:
    with pytest.raises(LedgerError, match=f"chain-1#0: is [0-9]+ bytes long; a row has at most {MAX_ROW_BYTES}"):
        VerifiedRow.of(sign(ledger_row(billing_key="k" * MAX_ROW_BYTES), KEY), OURS, NOW)


@pytest.mark.parametrize("chain_id", ["../../mac-b/index/9", "a/b", "a\0b", "a\n", ".", ""])
def test_a_chain_whose_id_is_no_part_of_a_files_name_is_refused(chain_id: str) -> None:
    """Else the archive would refuse its rows, or keep them elsewhere."""
    with pytest.raises(LedgerError, match=r"#0: the id of its chain has other characters"):
        VerifiedRow.of(sign(ledger_row(chain_id=chain_id), KEY), OURS, NOW)


def test_an_activity_of_a_newer_agent_counts_as_overhead_and_the_chain_goes_on() -> None:
    warming = sign(ledger_row(activity="Warming", monotonic_milliseconds=70), KEY)
    work = sign(ledger_row(1, warming.hash, activity=Activity.WORK, monotonic_milliseconds=30), KEY)
    book = LedgerBook(KEY.public_key(), OURS, lambda: NOW)
    book.resume("chain-1", 1)
    book.add(SignedRow.load_json(json.dumps(row.dump())) for row in (warming, work))
    (usage,) = book.usage.values()
    assert book.error is None and book.last_sequence == 1
    assert (usage.setup_milliseconds, usage.work_milliseconds, usage.cleanup_milliseconds) == (70, 30, 0)


def test_a_row_that_waits_takes_little_memory() -> None:
    rows, hash_before = [], "0" * 64
    for number in range(300):
        owner = RowOwner(kind="AudioBatchJob", namespace="speech", name="nightly-2026-11-30", uid=uid(7))
        row = ledger_row(
            number,
            hash_before,
            chain_id="491c344ca7cc7cef",
            control_plane=uid(1),
            hardware_id=uid(2),
            boot_id=uid(3),
            owner=owner,
            shard_uid=uid(100 + number // 3),
            billing_key="speech-42",
            price_class="Offline",
        )
        rows.append(json.dumps(sign(row, KEY).dump()))
        hash_before = SignedRow.load_json(rows[-1]).hash
    tracemalloc.start()
    kept = [VerifiedRow.of(SignedRow.load_json(text), uid(1), NOW) for text in rows]
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used_bytes / len(kept) < MAX_WAITING_ROW_BYTES
