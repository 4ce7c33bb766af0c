"""What `voxfleet bill verify` finds in the archive of a Mac: every change, and nothing in what is sound."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rig.signed_mac import ArchivedMonth, SignedMac, lines

from voxfleet_billing.archive_format import SegmentEntry
from voxfleet_billing.chain_links import SettledUpTo
from voxfleet_billing.finding import Check
from voxfleet_billing.mac_verification import MAX_FINDINGS, MacReport, verify_mac
from voxfleet_billing.signing_keys import raw_text


@pytest.fixture(scope="module")
def mac() -> SignedMac:
    made = SignedMac(clock=datetime(2026, 11, 30, 23, 50, tzinfo=UTC))
    for number in range(6):
        made.attempt(f"shard-{number}", seconds=(5, 300, 5))
    return made


@pytest.fixture(scope="module")
def november(mac: SignedMac) -> ArchivedMonth:
    return mac.months()[0]


def report(months: list[ArchivedMonth], **options: Any) -> MacReport:
    segments = {(month.index.month, name): content for month in months for name, content in month.segments.items()}
    return verify_mac(
        [month.index for month in months],
        lambda index, entry: segments.get((index.month, entry.name)),
        pinned_keys=options.pop("pinned_keys", None),
        **options,
    )


def found(reported: MacReport) -> set[tuple[Check, str]]:
    return {(finding.check, finding.where) for finding in reported.findings}


def test_a_sound_archive_has_no_findings(mac: SignedMac) -> None:
    months = mac.months()
    assert [month.index.month for month in months] == ["2026-11", "2026-12"]
    last = mac.rows[-1]
    settled = [SettledUpTo("mac-01-2026-12", mac.chain_id, last.row.sequence, last.hash)]
    told = report(months, pinned_keys={mac.ledger_key}, statements=settled)
    assert (told.rows, told.segments, told.chains, told.findings) == (18, 2, 1, ())
    assert report(months[1:], statements=settled).findings == ()


def test_a_missing_month_between_two_is_a_gap() -> None:
    mac = SignedMac()
    for month in (10, 11, 12):
        mac.clock = datetime(2026, month, 20, 22, tzinfo=UTC)
        mac.attempt(f"shard-{month}")
    months = mac.months()
    assert found(report([months[0], months[2]])) == {(Check.GAP, "chain-1#3 to #5")}


def test_another_key_than_the_pinned_one_is_found(november: ArchivedMonth) -> None:
    other = raw_text(SignedMac().key.public_key())
    told = report([november], pinned_keys={other})
    assert {check for check, _ in found(told)} == {Check.KEY}


def test_a_tail_that_statements_count_is_missed(mac: SignedMac, november: ArchivedMonth) -> None:
    last = mac.rows[-1]
    settled = [SettledUpTo("mac-01-2026-12", mac.chain_id, last.row.sequence, last.hash)]
    told = report([november], statements=settled)
    assert found(told) == {(Check.TAIL, f"chain-1#{last.row.sequence}")}
    assert "the archive ends at #" in told.findings[0].message


def test_a_statement_that_has_counted_another_row_is_found(mac: SignedMac, november: ArchivedMonth) -> None:
    settled = [SettledUpTo("mac-01-2026-11", mac.chain_id, 1, "0" * 64)]
    assert found(report([november], statements=settled)) == {(Check.STATEMENT, "chain-1#1")}


def test_a_segment_that_is_gone_is_named_with_its_rows(november: ArchivedMonth) -> None:
    entry = november.index.segments[0]
    told = report([ArchivedMonth(november.index, {})])
    missing = next(finding for finding in told.findings if finding.check is Check.SEGMENT)
    assert missing.where == entry.name and "chain-1#0 to #" in missing.message


def test_two_rows_of_one_lane_at_one_time_are_found() -> None:
    mac = SignedMac()
    mac.attempt("shard-1")
    mac.clock -= timedelta(seconds=30)
    mac.attempt("shard-2")
    names = [where for check, where in found(report(mac.months())) if check is Check.OVERLAP]
    assert "chain-1#3" in names
    mac = SignedMac()
    mac.attempt("shard-1")
    mac.clock -= timedelta(seconds=30)
    mac.attempt("shard-2", lane="offline/1")
    assert report(mac.months()).findings == ()


def test_findings_are_bounded_and_the_rest_is_counted() -> None:
    mac = SignedMac()
    for number in range(90):
        mac.attempt(f"shard-{number}")
    (month,) = mac.months()
    stranger = raw_text(SignedMac().key.public_key())
    heads = tuple(head.model_copy(update={"ledger_key": stranger}) for head in month.index.heads)
    told = report([ArchivedMonth(month.index.model_copy(update={"heads": heads}), month.segments)])
    assert len(told.findings) == MAX_FINDINGS and told.more_findings == 270 - MAX_FINDINGS


# Tampering, by somebody who can write to the archive and makes digests and index fit, but has no key of the Mac.

FIELDS = [
    "sequence",
    "previousHash",
    "controlPlane",
    "hardwareId",
    "bootId",
    "shardUid",
    "attempt",
    "lane",
    "activity",
    "priceClass",
    "billingKey",
    "wallStart",
    "wallEnd",
    "monotonicMilliseconds",
    "audioMilliseconds",
    "clips",
    "pausedMilliseconds",
    "chainId",
]


def rows_of(month: ArchivedMonth) -> tuple[SegmentEntry, list[dict[str, Any]]]:
    entry = month.index.segments[0]
    return entry, [json.loads(line) for line in month.segments[entry.name].splitlines()]


def rewritten(month: ArchivedMonth, documents: list[dict[str, Any]]) -> ArchivedMonth:
    """The index fits what the segment now holds, as far as it can without the rows' own heads."""
    entry = month.index.segments[0]
    content = b"".join(json.dumps(document, separators=(",", ":")).encode() + b"\n" for document in documents)
    sequences = [document["row"]["sequence"] for document in documents if "row" in document]
    changed = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(sequences),
        "first_sequence": sequences[0],
        "last_sequence": sequences[-1],
        "size_bytes": len(content),
    }
    return month.edited(entry.name, content, **changed)


def changed_value(value: object) -> object:
    if isinstance(value, int):
        return value + 1
    text = str(value)
    return {"Work": "Setup", "Setup": "Work", "Cleanup": "Work"}.get(text) or (
        ("0" if text[0] != "0" else "1") + text[1:]
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_each_change_of_a_row_names_the_row(november: ArchivedMonth, data: st.DataObject) -> None:
    _, documents = rows_of(november)
    number = data.draw(st.sampled_from([n for n, document in enumerate(documents) if "row" in document]))
    row = documents[number]["row"]
    name = data.draw(st.sampled_from([*FIELDS, "owner", "hash", "signature"]))
    if name == "owner":
        row["owner"][data.draw(st.sampled_from(["kind", "namespace", "name", "uid"]))] = "Other"
    elif name in ("hash", "signature"):
        documents[number][name] = changed_value(documents[number][name])
    else:
        row[name] = changed_value(row.get(name, 0 if name in ("clips", "pausedMilliseconds") else "x"))
    told = report([rewritten(november, documents)])
    named = {finding.where.split(" ")[0] for finding in told.findings} | {
        word for finding in told.findings for word in finding.message.replace(",", " ").split() if "#" in word
    }
    assert f"{row['chainId']}#{row['sequence']}" in named, told.findings


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_dropped_repeated_or_swapped_are_found(november: ArchivedMonth, data: st.DataObject) -> None:
    _, documents = rows_of(november)
    rows = [n for n, document in enumerate(documents) if "row" in document]
    at = data.draw(st.sampled_from(rows))
    match data.draw(st.sampled_from(["drop", "repeat", "swap", "cut"])):
        case "drop":
            del documents[at]
        case "repeat":
            documents.insert(at, documents[at])
        case "swap":
            other = data.draw(st.sampled_from([n for n in rows if n != at]))
            documents[at], documents[other] = documents[other], documents[at]
        case "cut":
            documents = documents[: max(at, 1)] + documents[len(rows) :]
    assert report([rewritten(november, documents)]).findings


def test_a_line_that_is_no_row_is_named(november: ArchivedMonth) -> None:
    entry, documents = rows_of(november)
    del documents[2]["row"]["lane"]
    told = report([rewritten(november, documents)])
    assert any("line 3 cannot be read: row.lane" in finding.message for finding in told.findings)
    garbled = november.edited(entry.name, november.segments[entry.name] + b"nothing\n[1]\n")
    messages = " ".join(finding.message for finding in report([garbled]).findings)
    assert "it is no JSON object" in messages and "it is no JSON" in messages and "was changed" in messages


def test_a_fraction_in_a_row_is_found(november: ArchivedMonth) -> None:
    _, documents = rows_of(november)
    documents[1]["row"]["monotonicMilliseconds"] = 3000.0
    assert (Check.ROW, "chain-1#1") in found(report([rewritten(november, documents)]))


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("", "signature", "é"),
        ("row", "wallStart", "2026-11-30T23:50:00"),
        ("row", "wallEnd", "2026-11-30T23:50:00"),
        ("row", "wallStart", "2026-11-31T23:50:00Z"),
    ],
)
def test_what_cannot_be_read_in_a_row_is_found(november: ArchivedMonth, place: str, name: str, value: str) -> None:
    _, documents = rows_of(november)
    (documents[1]["row"] if place else documents[1])[name] = value
    assert (Check.ROW, "chain-1#1") in found(report([rewritten(november, documents)]))


def test_rows_without_a_time_zone_are_found() -> None:
    mac = SignedMac()
    mac.attempt("shard-1")
    month = mac.months()[0]
    _, documents = rows_of(month)
    for document in documents:
        for name in ("wallStart", "wallEnd"):
            if "row" in document:
                document["row"][name] = document["row"][name].rstrip("Z")
    messages = [finding.message for finding in report([rewritten(month, documents)]).findings]
    assert sum("wall times are none: without a time zone" in message for message in messages) == 3


def test_the_lines_of_the_rig_are_what_the_format_says(mac: SignedMac) -> None:
    assert json.loads(lines(mac.rows[:1]))["row"]["sequence"] == 0
