"""Signed, chained machine-hour rows."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.ledger_row import ledger_row

from voxfleet_api import ledger
from voxfleet_api.ledger import ChainHead, LedgerError, LedgerRow, SignedRow

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def row(head: ChainHead, *, milliseconds: int = 1500) -> LedgerRow:
    return ledger_row(
        head.sequence + 1,
        head.hash,
        chain_id=head.chain_id,
        monotonic_milliseconds=milliseconds,
        audio_milliseconds=9000,
    )


def chain(length: int) -> list[SignedRow]:
    head = ChainHead("chain-a")
    rows = []
    for _ in range(length):
        signed = ledger.sign(row(head), KEY)
        rows.append(signed)
        head = ChainHead(head.chain_id, signed.row.sequence, signed.hash)
    return rows


def test_a_chain_verifies_in_pieces() -> None:
    rows = chain(5)
    head = ledger.verify(rows[:2], KEY.public_key())
    assert head == ChainHead("chain-a", 1, rows[1].hash)
    assert ledger.verify(rows[2:], KEY.public_key(), head) == ChainHead("chain-a", 4, rows[4].hash)


@given(position=st.integers(0, 4), data=st.data())
def test_one_changed_byte_is_found_and_named(position: int, data: st.DataObject) -> None:
    rows = chain(5)
    text = rows[position].model_dump_json(by_alias=True)
    digits = [index for index, letter in enumerate(text) if letter.isdigit() and '"monotonicMilliseconds":1500' in text]
    at = data.draw(st.sampled_from(digits))
    changed = text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]
    try:
        rows[position] = SignedRow.model_validate_json(changed)
    except ValueError:
        return  # no longer a row at all; the reader refuses it before verification
    with pytest.raises(LedgerError) as caught:
        ledger.verify(rows, KEY.public_key())
    assert caught.value.row_name in {rows[position].name, f"chain-a#{position}", f"chain-a#{position + 1}"}


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        pytest.param(lambda rows: rows[:1] + rows[2:], "chain-a#2", "missing or repeated", id="row left out"),
        pytest.param(lambda rows: [*rows[:2], rows[1], *rows[2:]], "chain-a#1", "missing or repeated", id="repeated"),
        pytest.param(lambda rows: rows[1:], "chain-a#1", "missing or repeated", id="start cut off"),
    ],
)
def test_gaps(damage: object, name: str, message: str) -> None:
    assert callable(damage)
    with pytest.raises(LedgerError, match=message) as caught:
        ledger.verify(damage(chain(3)), KEY.public_key())
    assert caught.value.row_name == name


def test_a_row_signed_by_another_key_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    forged = ledger.sign(row(ChainHead("chain-a")), other)
    with pytest.raises(LedgerError, match="not by this Mac's ledger key"):
        ledger.verify([forged], KEY.public_key())


def test_a_rehashed_row_without_the_key_is_refused() -> None:
    signed = chain(1)[0]
    cheaper = signed.row.model_copy(update={"monotonic_milliseconds": 1})
    forged = SignedRow(row=cheaper, hash=ledger.row_hash(cheaper), signature=signed.signature)
    with pytest.raises(LedgerError, match="signature"):
        ledger.verify([forged], KEY.public_key())


def test_a_signature_that_is_no_base64_is_refused() -> None:
    signed = chain(1)[0]
    for text in ("é", signed.signature[:-1], ""):
        with pytest.raises(LedgerError, match="signature"):
            ledger.verify([signed.model_copy(update={"signature": text})], KEY.public_key())


def test_public_key_text() -> None:
    raw = KEY.public_key().public_bytes_raw()
    assert ledger.public_key(base64.b64encode(raw).decode()) == KEY.public_key()
    with pytest.raises(ValueError, match=r"base64|padding|Only"):
        ledger.public_key("no base64!")
