"""Random changes to a chain of signed rows, and whether the operator's reader finds each and names the row.

PYTHONPATH=. .venv/bin/python -m tests.unit.operator.fleet.tampering 10000
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.ledger_row import ledger_row

from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.ledger import GENESIS_HASH, Activity, ChainHead, RowOwner, SignedRow, sign
from voxfleet_api.protocol import LedgerPage
from voxfleet_operator.fleet.ledger_book import LedgerBook

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
CHAIN = "chain-1"
OURS = "cluster-1"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
Line = dict[str, Any]


@dataclass
class Tampered:
    lines: list[Line]
    """As the agent serves them now."""
    row: int
    """The number of the first row that is not what was signed, or is missing."""
    newest: int | None = None
    """The number that the agent calls its newest; None: as before."""
    head: ChainHead | None = None
    """What the operator has stored of the chain; None: nothing yet."""


def a_chain(length: int, rng: random.Random, key: Ed25519PrivateKey = KEY, first: int = 0) -> list[Line]:
    lines: list[Line] = []
    previous = GENESIS_HASH
    for number in range(first, first + length):
        signed = sign(
            ledger_row(
                number,
                previous,
                activity=rng.choice(list(Activity)),
                owner=RowOwner(kind="AudioBatchJob", namespace="speech", name=f"night-{number}", uid=f"uid-{number}"),
                attempt=rng.randint(1, 3),
                monotonic_milliseconds=rng.randint(0, 10**6),
                audio_milliseconds=rng.randint(0, 10**7),
                clips=rng.randint(0, 50),
                paused_milliseconds=rng.randint(0, 9),
                billing_key="speech-42",
                price_class="Offline",
            ),
            key,
        )
        previous = signed.hash
        lines.append(signed.dump())
    return lines


def places(line: Line, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every value in a signed row."""
    found: list[tuple[str, ...]] = []
    for name, value in line.items():
        found += places(value, (*path, name)) if isinstance(value, dict) else [(*path, name)]
    return found


def changed_value(value: object, rng: random.Random) -> object:
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 7, -(10**6), 10**6])
    text = str(value)
    at = rng.randrange(len(text))
    return (
        text[:at] + rng.choice([letter for letter in "0aZ-9/=" if letter != text[at]]) + text[at + rng.randint(0, 1) :]
    )


def change_field(lines: list[Line], rng: random.Random) -> Tampered:
    """Any field of any row, hash and signature among them; in every third case its hash is computed anew."""
    row = rng.randrange(len(lines))
    path = rng.choice(places(lines[row]))
    held = lines[row]
    for name in path[:-1]:
        held = held[name]
    held[path[-1]] = changed_value(held[path[-1]], rng)
    if path[0] == "row" and rng.random() < 1 / 3:
        lines[row]["hash"] = sha256_hex(canonical_json(lines[row]["row"]))
    return Tampered(lines, row)


def leave_out_field(lines: list[Line], rng: random.Random) -> Tampered:
    row = rng.randrange(len(lines))
    del lines[row]["row"][rng.choice(list(lines[row]["row"]))]
    return Tampered(lines, row)


def add_field(lines: list[Line], rng: random.Random) -> Tampered:
    row = rng.randrange(len(lines))
    lines[row]["row"][rng.choice(["namespace", "discount", "jobName"])] = "x"
    return Tampered(lines, row)


def drop(lines: list[Line], rng: random.Random) -> Tampered:
    row = rng.randrange(len(lines) - 1)  # the last one is a tail
    return Tampered(lines[:row] + lines[row + 1 :], row)


def duplicate(lines: list[Line], rng: random.Random) -> Tampered:
    row = rng.randrange(len(lines))
    return Tampered([*lines[: row + 1], lines[row], *lines[row + 1 :]], row + 1)


def reorder(lines: list[Line], rng: random.Random) -> Tampered:
    one, other = sorted(rng.sample(range(len(lines)), 2))
    lines[one], lines[other] = lines[other], lines[one]
    return Tampered(lines, one)


def exchange(lines: list[Line], rng: random.Random) -> Tampered:
    """A row's content with another's hash and signature."""
    one, other = sorted(rng.sample(range(len(lines)), 2))
    lines[one]["row"], lines[other]["row"] = lines[other]["row"], lines[one]["row"]
    return Tampered(lines, one)


def cut_tail(lines: list[Line], rng: random.Random) -> Tampered:
    """The operator remembers the head, which the agent does not have any more."""
    last = SignedRow.load(lines[-1])
    left = rng.randrange(len(lines))
    return Tampered(lines[:left], last.row.sequence, left - 1, ChainHead(CHAIN, last.row.sequence, last.hash))


def fork(lines: list[Line], rng: random.Random) -> Tampered:
    """A copy of the agent's state goes on with other rows under the same numbers, signed by the right key."""
    head = SignedRow.load(lines[-1])
    back = rng.randint(1, len(lines))
    kept = lines[: len(lines) - back]
    previous = SignedRow.load(kept[-1]).hash if kept else GENESIS_HASH
    for number in range(len(kept), len(lines) + 3):
        signed = sign(ledger_row(number, previous, monotonic_milliseconds=number + 1), KEY)
        kept.append(signed.dump())
        previous = signed.hash
    return Tampered(kept, len(lines), head=ChainHead(CHAIN, head.row.sequence, head.hash))


def sign_with_another_key(lines: list[Line], rng: random.Random) -> Tampered:
    return Tampered(a_chain(len(lines), rng, OTHER_KEY), 0)


KINDS: tuple[Callable[[list[Line], random.Random], Tampered], ...] = (
    change_field,
    leave_out_field,
    add_field,
    drop,
    duplicate,
    reorder,
    exchange,
    cut_tail,
    fork,
    sign_with_another_key,
)
WEIGHTS = (10, 1, 1, 2, 2, 2, 1, 2, 1, 1)


def read(tampered: Tampered, served: int) -> LedgerBook:
    """As a session does: the head, then page after page, up to the first row that is refused."""
    book = LedgerBook(KEY.public_key(), OURS, lambda: NOW)
    book.resume(CHAIN, served - 1 if tampered.newest is None else tampered.newest, tampered.head)
    behind = [line for number, line in enumerate(tampered.lines) if number > book.last_sequence]
    for start in range(0, len(behind), 5):
        if book.error is not None:
            break
        page = LedgerPage.load_json(json.dumps({"chainId": CHAIN, "rows": behind[start : start + 5]}))
        book.add(page.rows)
        if page.damaged_sequence is not None and book.error is None:
            book.refuse_damaged(page.chain_id, page.damaged_sequence)
    return book


def trial(seed: int) -> tuple[str, str | None]:
    """One trial: the kind of change, and what is wrong with how it was found; None if all is well."""
    rng = random.Random(seed)  # noqa: S311 # a test repeats by its seed
    lines = a_chain(rng.randint(2, 14), rng)
    kind = rng.choices(KINDS, WEIGHTS)[0]
    original = copy.deepcopy(lines)
    tampered = kind(copy.deepcopy(lines), rng)
    if tampered.lines == original:
        return kind.__name__, "the test changed nothing"
    book = read(tampered, len(original))
    if book.error is None:
        return kind.__name__, "not found"
    names = {f"{CHAIN}#{tampered.row}"}
    if tampered.row < len(tampered.lines):
        row = tampered.lines[tampered.row]["row"]
        names.add(f"{row.get('chainId')}#{row.get('sequence')}")  # as it calls itself now
    if not any(f"ledger row {name}:" in book.error for name in names):
        return kind.__name__, f"row {tampered.row} is not named by: {book.error}"
    counted = [json.loads(row.content) for row in book.rows]
    if tampered.head is None and counted != original[: tampered.row]:
        return kind.__name__, f"rows from {tampered.row} on were counted"
    if tampered.head is not None and counted:
        return kind.__name__, "rows were counted behind the stored head"
    return kind.__name__, None


def main(trials: int) -> int:
    done: Counter[str] = Counter()
    failed = 0
    for seed in range(trials):
        kind, problem = trial(seed)
        done[kind] += 1
        if problem is not None:
            failed += 1
            print(f"seed {seed}: {kind}: {problem}")
    print(f"{trials - failed} of {trials} changes found, each with its row named")
    print(", ".join(f"{kind} {count}" for kind, count in done.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
