"""This Mac's chain of signed machine-hour rows."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from voxfleet_agent.config import ConfigError, create_private_file, read_private_file
from voxfleet_agent.journal import event_table, lane_holds, settings_table
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import (
    GENESIS_HASH,
    IDENTITY_CONTEXT,
    Activity,
    ChainHead,
    LedgerError,
    LedgerRow,
    SignedRow,
    public_key,
    sign,
    verify,
)
from voxfleet_api.machine_messages import Identity, identity_claim
from voxfleet_api.protocol import MAX_LISTED_CHAINS, EventType, LedgerChain, LedgerPage, LedgerSpan


def create_key_file(file: Path) -> bool:
    """Writes a new Ed25519 key (PKCS 8, PEM, mode 0600) unless the file exists; returns True when it created one."""
    key = Ed25519PrivateKey.generate()
    return create_private_file(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def load_key(file: Path) -> Ed25519PrivateKey:
    """Reads the key. Raises ConfigError when the file is missing, readable by others or not an Ed25519 key."""
    try:
        key = load_pem_private_key(read_private_file(file, "ledgerKeyFile"), password=None)
    except ValueError as error:
        raise ConfigError(f"ledgerKeyFile: {file} is no private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"ledgerKeyFile: {file} is no Ed25519 key")
    return key


def public_key_text(key: Ed25519PrivateKey) -> str:
    """The value of MacAgent.spec.ledgerPublicKey: 32 bytes in base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


class Ledger:
    """Appends to the chain inside the caller's transaction."""

    def __init__(self, key: Ed25519PrivateKey, chain_id: str, hardware_id: str) -> None:
        self._key = key
        self.chain_id = chain_id
        self.hardware_id = hardware_id
        self.public_key = public_key_text(key)

    def seal(
        self, db: sqlite3.Connection, holds: Sequence[lane_holds.LaneHold], holder: lane_holds.LaneHolder
    ) -> list[SignedRow]:
        """Turns the holds of one activity, one for each month, into signed rows and their events, and with them
        those of the endpoints that the lane stood still for meanwhile.

        Returns no row if they were already sealed: the journal has the activity's time under one key.
        """
        if not holds or not lane_holds.remove(db, holds[0]):
            return []
        for hold in holds:
            if hold.key != holds[0].key:
                lane_holds.remove(db, hold)
        return [self._append(db, hold, hold.holder or holder) for hold in holds]

    def tick(
        self,
        db: sqlite3.Connection,
        ended: Sequence[lane_holds.LaneHold],
        running: Sequence[lane_holds.LaneHold],
        holder: lane_holds.LaneHolder,
    ) -> None:
        """Records an activity up to now. What `ended`, of it with a month or as another activity begins, gets its
        rows.
        """
        first, *paused = running
        if not ended:
            goes_on = lane_holds.tick(db, first)
        elif goes_on := bool(self.seal(db, ended, holder)):
            lane_holds.save(db, first)
        if goes_on:
            for hold in paused:
                lane_holds.save(db, hold)

    def _append(self, db: sqlite3.Connection, hold: lane_holds.LaneHold, holder: lane_holds.LaneHolder) -> SignedRow:
        signed = sign(row_of(hold, holder, chain_head(db, self.chain_id), self.hardware_id), self._key)
        db.execute(
            "INSERT INTO ledger_rows VALUES (?, ?, ?, ?, ?)",
            (self.chain_id, signed.row.sequence, *hold.key, json.dumps(signed.dump())),
        )
        event_table.append(db, EventType.ROW, signed)
        return signed

    def identity(self, control_plane: str | None, nonce: str) -> Identity:
        """Proves that this agent holds the ledger key."""
        claim = Identity(
            hardware_id=self.hardware_id,
            control_plane=control_plane,
            public_key=self.public_key,
            nonce=nonce,
            signature="",
        )
        signature = self._key.sign(IDENTITY_CONTEXT + canonical_json(identity_claim(claim)))
        return claim.model_copy(update={"signature": base64.b64encode(signature).decode()})


def open_chain(db: sqlite3.Connection, key_text: str) -> str:
    """Returns the chain's id; starts a new chain when the journal is new or the key has changed."""
    chain_id = settings_table.get(db, "chain_id")
    if chain_id is None or settings_table.get(db, "chain_public_key") != key_text:
        return begin_chain(db, key_text)
    return chain_id


def begin_chain(db: sqlite3.Connection, key_text: str) -> str:
    """Starts a new chain and returns its id. Those before it stay, with the keys that verify them."""
    chain_id = secrets.token_hex(8)
    settings_table.put(db, "chain_id", chain_id)
    settings_table.put(db, "chain_public_key", key_text)
    db.execute("INSERT INTO chains (chain_id, public_key) VALUES (?, ?)", (chain_id, key_text))
    return chain_id


def chains(db: sqlite3.Connection, limit: int = MAX_LISTED_CHAINS) -> list[LedgerChain]:
    """The newest chains, the current one first."""
    stored = db.execute("SELECT chain_id, public_key FROM chains ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
    return [_chain(db, chain_id, key_text) for chain_id, key_text in stored]


def _chain(db: sqlite3.Connection, chain_id: str, key_text: str | None) -> LedgerChain:
    try:
        head = chain_head(db, chain_id)
    except LedgerError:
        return LedgerChain(chain_id=chain_id, ledger_key=key_text, sequence=last_sequence(db, chain_id))
    newest = None if head.sequence < 0 else head.hash
    return LedgerChain(chain_id=chain_id, ledger_key=key_text, sequence=head.sequence, hash=newest)


def has_chain(db: sqlite3.Connection, chain_id: str) -> bool:
    return db.execute("SELECT 1 FROM chains WHERE chain_id = ?", (chain_id,)).fetchone() is not None


def last_sequence(db: sqlite3.Connection, chain_id: str) -> int:
    """The number of the newest row, readable or not; -1 before the first."""
    (newest,) = db.execute("SELECT max(sequence) FROM ledger_rows WHERE chain_id = ?", (chain_id,)).fetchone()
    return -1 if newest is None else int(newest)


def row_of(hold: lane_holds.LaneHold, holder: lane_holds.LaneHolder, head: ChainHead, hardware_id: str) -> LedgerRow:
    """The row that follows `head`: what a hold says of whoever holds the lane."""
    return LedgerRow(
        chain_id=head.chain_id,
        sequence=head.sequence + 1,
        previous_hash=head.hash,
        control_plane=holder.control_plane,
        hardware_id=hardware_id,
        boot_id=hold.boot_id,
        owner=holder.owner,
        shard_uid=hold.key.shard_uid,
        attempt=hold.key.attempt,
        lane=hold.lane,
        activity=hold.activity,
        price_class=hold.price_class,
        billing_key=holder.billing_key,
        wall_start=hold.wall_start,
        wall_end=hold.wall_end,
        monotonic_milliseconds=hold.milliseconds,
        audio_milliseconds=hold.audio_milliseconds,
        clips=hold.clips,
        paused_milliseconds=hold.milliseconds if hold.activity == Activity.PAUSED else 0,
    )


def chain_head(db: sqlite3.Connection, chain_id: str) -> ChainHead:
    """The head that the next row continues. Raises LedgerError when the newest row is no longer readable."""
    newest = db.execute(
        "SELECT sequence, content FROM ledger_rows WHERE chain_id = ? ORDER BY sequence DESC LIMIT 1", (chain_id,)
    ).fetchone()
    if newest is None:
        return ChainHead(chain_id, -1, GENESIS_HASH)
    sequence, content = newest
    try:
        return ChainHead(chain_id, sequence, SignedRow.load_json(content).hash)
    except ValidationError as error:
        raise LedgerError(
            f"{chain_id}#{sequence}",
            "is not a signed row any more, so no row can follow it; restore the journal, or move stateDir away to"
            " start a new chain",
        ) from error


def page_after(db: sqlite3.Connection, chain_id: str, sequence: int, limit: int) -> LedgerPage:
    """The rows after `sequence`, up to the first damaged one, which the page names."""
    stored = db.execute(
        "SELECT sequence, content FROM ledger_rows WHERE chain_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (chain_id, sequence, limit),
    )
    rows: list[SignedRow] = []
    for number, content in stored:
        try:
            rows.append(SignedRow.load_json(content))
        except ValidationError:
            return LedgerPage(chain_id=chain_id, rows=tuple(rows), damaged_sequence=number)
    return LedgerPage(chain_id=chain_id, rows=tuple(rows))


def span(db: sqlite3.Connection, chain_id: str, key: AttemptKey) -> LedgerSpan | None:
    """The range of the attempt's rows in the current chain; rows of other attempts may lie between them."""
    first, last = db.execute(
        "SELECT min(sequence), max(sequence) FROM ledger_rows WHERE chain_id = ? AND shard_uid = ? AND attempt = ?",
        (chain_id, *key),
    ).fetchone()
    return None if first is None else LedgerSpan(chain_id=chain_id, first_sequence=first, last_sequence=last)


def stored_rows(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Yields (`<chain>#<sequence>`, JSON line) for every row of every chain, the oldest chain first."""
    for chain_id, sequence, content in db.execute(
        "SELECT ledger_rows.chain_id, sequence, content FROM ledger_rows LEFT JOIN chains USING (chain_id)"
        " ORDER BY number, ledger_rows.chain_id, sequence"
    ):
        yield f"{chain_id}#{sequence}", content


def verify_lines(lines: Iterator[tuple[str, str]], key_of: Callable[[str], str]) -> list[ChainHead]:
    """Verifies whole chains and returns their heads. Raises LedgerError, which names the first bad row.

    `key_of`: the public key of a chain.
    """
    heads: list[ChainHead] = []
    head: ChainHead | None = None
    for name, line in lines:
        try:
            signed = SignedRow.load_json(line)
        except ValidationError as error:
            raise LedgerError(name, "is not a signed row any more") from error
        if signed.name != name:
            raise LedgerError(name, f"was changed: it calls itself {signed.name}")
        if head is not None and signed.row.chain_id != head.chain_id:
            heads.append(head)
            head = None
        head = verify([signed], public_key(key_of(signed.row.chain_id)), head)
    return heads if head is None else [*heads, head]
