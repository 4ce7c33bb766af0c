"""What namespaces have used lately is known from statements and shards, so a new process knows it, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.operator.decisions.attempt_objects import record, shard_with
from tests.unit.operator.decisions.bodies import LEDGER_KEY

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioShard, MachineHourStatement
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage, MachineIdentity
from voxfleet_api.kinds.machine_hour_statement import MAX_NAMESPACES, NamespaceUse
from voxfleet_api.ledger import Activity, ChainHead
from voxfleet_billing.archive_format import TimeClass
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.metering.recent_use import (
    HALF_LIFE_SECONDS,
    added_up,
    counted_use_seconds,
    uncounted_use_seconds,
    with_use,
)
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun
from voxfleet_operator.reconcile.statement.status import with_run
from voxfleet_operator.reconcile.stored_statements import StoredStatements

THEN = datetime(2026, 11, 20, 10, tzinfo=UTC)
LATER = THEN + timedelta(seconds=HALF_LIFE_SECONDS)


def stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def use(namespace: str, seconds: str) -> NamespaceUse:
    return NamespaceUse(namespace=namespace, machine_seconds=seconds)


def statement(name: str, updated: datetime | None, *used: NamespaceUse, version: str = "1") -> MachineHourStatement:
    status = {"recentUse": [item.dump() for item in used]}
    return MachineHourStatement.load(
        {
            "metadata": {"name": name, "uid": f"{name}-uid", "resourceVersion": version},
            "spec": {"mac": "mac-a", "month": "2026-11"},
            "status": status if updated is None else {**status, "updatedAt": stamp(updated)},
        }
    )


def test_a_statement_halves_what_it_knew_and_adds_what_is_new() -> None:
    before = (use("a", "100.000"), use("b", "10.000"))
    found = with_use(before, stamp(THEN), {"b": 7_000, "c": 1_500}, LATER)
    assert found == (use("a", "50.000"), use("b", "12.000"), use("c", "1.500"))
    assert with_use((), None, {"a": 1}, THEN) == (use("a", "0.001"),)


def test_it_lists_so_many_namespaces_and_leaves_out_those_that_used_least() -> None:
    many = {f"team-{number:03}": number for number in range(MAX_NAMESPACES + 5)}
    found = with_use((), None, many, THEN)
    assert len(found) == MAX_NAMESPACES and found[0].namespace == "team-005"


def test_what_is_long_ago_is_left_out() -> None:
    assert with_use((use("a", "100.000"),), stamp(THEN), {}, THEN + timedelta(days=30)) == ()


def test_statements_count_from_their_last_write() -> None:
    found = counted_use_seconds(
        [statement("one", THEN, use("a", "100.000"), use("b", "8.000")), statement("two", LATER, use("a", "1.000"))],
        LATER,
    )
    assert found == {"a": pytest.approx(51.0), "b": pytest.approx(4.0)}


USAGE = AttemptUsage(
    chain_id="chain",
    first_sequence=3,
    last_sequence=5,
    rows=3,
    setup_milliseconds=500,
    work_milliseconds=2000,
    complete=True,
)
MACHINE = MachineIdentity(hardware_id="hardware", ledger_key=LEDGER_KEY)


def worked(usage: AttemptUsage | None, machine: MachineIdentity | None = MACHINE) -> AudioShard:
    return shard_with(record(1, "mac-a", AttemptOutcome.SUCCEEDED, usage).model_copy(update={"machine": machine}))


@pytest.mark.parametrize(
    ("shard", "sequence", "seconds"),
    [
        (worked(USAGE), None, 2.5),
        (worked(USAGE), 4, 2.5),
        (worked(USAGE), 5, 0.0),
        (worked(USAGE), 9, 0.0),
        (worked(None), None, 0.0),
        (worked(USAGE, None), None, 0.0),
    ],
    ids=[
        "no statement yet",
        "up to a row before its last",
        "all rows",
        "more rows",
        "no rows",
        "of an unknown machine",
    ],
)
def test_a_shard_counts_until_a_statement_does(shard: AudioShard, sequence: int | None, seconds: float) -> None:
    heads = {} if sequence is None else {(LEDGER_KEY, "chain"): ChainHead("chain", sequence, "0" * 64)}
    assert uncounted_use_seconds([shard], heads) == {shard.metadata.namespace: seconds}
    assert uncounted_use_seconds([shard], {("other key", "chain"): ChainHead("chain", 9, "0" * 64)}).keys()


def test_uses_add_up() -> None:
    assert added_up({"a": 1.0}, {"a": 2.0, "b": 3.0}) == {"a": 3.0, "b": 3.0}


def test_rows_count_for_the_namespace_of_their_job() -> None:
    rows = tuple(
        SettledRow(
            VerifiedRow(
                "chain", number, "0" * 64, "2026-11", AttemptKey("shard", 1), True, Activity.WORK, 1000, 0, name
            ),
            TimeClass.FOREIGN if name == "foreign" else TimeClass.RETRY,
        )
        for number, name in enumerate(["a", "b", "a", "foreign", ""])
    )
    status = with_run(statement("one", None), SettledRun("chain", "2026-11", rows), LEDGER_KEY, stamp(THEN))
    assert status.recent_use == (use("a", "2.000"), use("b", "1.000"))


def test_a_new_process_knows_what_the_last_one_knew() -> None:
    cache = Cache()
    cache.put(statement("one", THEN, use("a", "100.000")))
    stored = StoredStatements(cache)
    assert stored.use_seconds(THEN) == {"a": pytest.approx(100.0)}
    assert stored.use_seconds(LATER) == StoredStatements(cache).use_seconds(LATER) == {"a": pytest.approx(50.0)}
    cache.put(statement("one", LATER, use("b", "7.000"), version="2"))
    assert stored.use_seconds(LATER) == {"b": pytest.approx(7.0)}
