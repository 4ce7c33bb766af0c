"""A ledger row that was changed on its Mac: named, and not counted."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType
from voxfleet_dev.mac import Mac

CLIPS = [*EXPECTED][:4]


def test_a_changed_ledger_row_is_named_and_not_counted(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.start()
    fleet.submit("job", CLIPS, sharding={"targetAudio": "1s"})  # a shard for each clip, and so rows of both Macs
    fleet.wait_for_end("job")
    first, second = fleet.macs
    assert_refused_once_changed(fleet, first, b'"monotonicMilliseconds": ', b'"monotonicMilliseconds": 9')
    fleet.wait_for_condition(lambda: fleet.mac_agent(second), ConditionType.LEDGER_VERIFIED, "True", "Verified")
    assert_refused_once_changed(fleet, second, b'"row": {', b'"row": [')  # no JSON any more


def assert_refused_once_changed(fleet: Fleet, mac: Mac, old: bytes, new: bytes) -> None:
    fleet.operator.stop()
    mac.agent.stop()
    tamper(mac, old, new)
    mac.restart_agent()
    fleet.operator.start()
    message = fleet.wait_for_condition(
        lambda: fleet.mac_agent(mac), ConditionType.LEDGER_VERIFIED, "False", "RowRefused"
    ).message
    assert "#0" in message and "was changed" in message


def journal(mac: Mac) -> sqlite3.Connection:
    return sqlite3.connect(mac.directory / "state" / "journal.sqlite3")


def tamper(mac: Mac, old: bytes, new: bytes) -> None:
    """Changes the first signed row in the journal, as a fraudulent owner or a bad disk would."""
    with closing(journal(mac)) as connection, connection:
        (text,) = connection.execute("SELECT content FROM ledger_rows WHERE sequence = 0").fetchone()
        changed = text.replace(old.decode(), new.decode(), 1)
        assert changed != text
        connection.execute("UPDATE ledger_rows SET content = ? WHERE sequence = 0", (changed,))
