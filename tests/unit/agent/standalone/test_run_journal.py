"""What a run still knows of its earlier attempts."""

from __future__ import annotations

from unittest.mock import create_autospec

from tests.unit.agent.standalone.test_attempt_specs import FOUND, attempt_specs

from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.standalone.run_journal import RunJournal
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptState, ShardResult


def plan_attempt(number: int, min_shards: int | None, *, delivered: bool) -> JournaledAttempt:
    spec = attempt_specs().plan(number, min_shards)
    return JournaledAttempt(
        key=AttemptKey(spec.shard_uid, number),
        spec_digest=digest_of(spec),
        control_plane="local",
        spec=spec,
        state=AttemptState.SUCCEEDED if delivered else AttemptState.RUNNING,
        result=ShardResult(commit_sha256="a" * 64, plan=FOUND) if delivered else None,
    )


def test_a_plan_that_broke_off_does_not_hide_the_one_that_was_delivered_before() -> None:
    """Else a run that goes on with more lanes would cut other shards and lose what the old ones delivered."""
    records = [plan_attempt(2, 2, delivered=False), plan_attempt(1, 2, delivered=True)]
    journal = RunJournal(create_autospec(Journal, instance=True), records)
    uid = attempt_specs().shard_uid(Stage.PLAN)
    assert journal.delivered(uid) is None
    found = journal.last_delivered(uid)
    assert found is not None and (found.key.attempt, found.spec.plan and found.spec.plan.min_shards) == (1, 2)
