"""Contracts and rows are digested as they were stored, whatever fields this version has beyond them."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from tests.rig.ledger_row import ledger_row

from voxfleet_api.base import StatusModel
from voxfleet_api.digest import canonical_json, digest_of, sha256_hex
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import SIGNATURE_CONTEXT, SignedRow, sign, verify
from voxfleet_api.stored_form import StoredForm

WRITTEN = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1], "maxClipBytes": 1048576}}


class Order(StoredForm):
    """A message as a first version had it."""

    kind: str
    sizes: tuple[int, ...] = ()


class LaterOrder(Order):
    """The same message of a later version."""

    weight: int = 1


class Envelope(StatusModel):
    order: LaterOrder


@pytest.mark.parametrize("stored", [{"kind": "a"}, {"kind": "a", "sizes": [1, 2]}])
def test_a_later_version_digests_and_passes_on_what_was_stored(stored: dict[str, object]) -> None:
    for later in (LaterOrder.load(stored), LaterOrder.load_json(digest_text(stored)), inside(stored)):
        assert later.dump() == stored and digest_of(later) == digest_of(Order.load(stored))
        assert later.weight == 1 and later.in_full().dump() == {"sizes": [], "weight": 1} | stored
        assert Envelope(order=later).dump() == {"order": stored}
        assert LaterOrder.model_validate_json(later.model_dump_json()) == later == later.in_full()
        assert hash(later) == hash(later.in_full())


def digest_text(stored: dict[str, object]) -> bytes:
    return Order.load(stored).model_dump_json().encode()


def inside(stored: dict[str, object]) -> LaterOrder:
    return Envelope.load({"order": stored, "unknown": 1}).order


def test_what_was_made_from_fields_or_changed_dumps_its_fields() -> None:
    assert Order(kind="a").dump() == {"kind": "a"} | {"sizes": []}
    changed = LaterOrder.load({"kind": "a"}).model_copy(update={"weight": 2})
    assert changed.dump() == {"kind": "a", "sizes": [], "weight": 2}
    assert LaterOrder.load({"kind": "a"}).model_copy().dump() == {"kind": "a"}


@pytest.mark.parametrize("odd", [{"kind": "a", "sizes": [1.0]}, {"kind": "a", "sizes": []} | {"weight": True}])
def test_what_has_no_canonical_form_is_digested_as_it_was_understood(odd: dict[str, object]) -> None:
    digest_of(LaterOrder.load(odd))


def test_unknown_fields_are_still_refused() -> None:
    for parse in (Order.load, lambda data: Order.load_json('{"kind": "a", "weight": 1}')):
        with pytest.raises(ValidationError, match="weight"):
            parse({"kind": "a", "weight": 1})
    with pytest.raises(ValidationError):
        Order.load_json("{" * 10_000)
    with pytest.raises(ValidationError):
        Order.load_json(b"\xff")


def test_a_contract_is_passed_on_as_it_was_stored() -> None:
    contract = VoiceContractSpec.load(WRITTEN)
    assert contract.dump() == WRITTEN and digest_of(contract) == digest_of(WRITTEN)
    assert contract.input.max_clip_bytes == "1048576"


def test_a_row_of_an_older_agent_verifies() -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    signed = sign(ledger_row(), key).dump()
    signed["row"].pop("audioMilliseconds")  # as if a later version had added it
    row = signed["row"]
    signed |= {
        "hash": sha256_hex(canonical_json(row)),
        "signature": base64.b64encode(key.sign(SIGNATURE_CONTEXT + canonical_json(row))).decode(),
    }
    for read in (SignedRow.load(signed), SignedRow.load_json(json.dumps(signed))):
        head = verify([read], key.public_key())
        assert head is not None and head.sequence == 0 and read.dump() == signed
