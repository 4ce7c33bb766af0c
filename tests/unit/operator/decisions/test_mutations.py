"""What the next attempt does differently: another Mac, smaller batches."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import a_job, a_shard
from tests.unit.operator.decisions.test_every_job_ends import until
from tests.unit.operator.decisions.world import World

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, ShardPiece, Stage
from voxfleet_operator.metering.usage import NO_ROWS
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.mutations import MAX_BATCH_HALVINGS, batch_halvings, mac_to_avoid
from voxfleet_operator.reconcile.shard.status import KEPT_ATTEMPTS, fold

HALVING = {FailureClass.GPU_ABORT_OUT_OF_MEMORY, FailureClass.GPU_ABORT_TIMEOUT}


def record(attempt: int, mac: str, outcome: AttemptOutcome, failure: FailureClass | None = None) -> AttemptRecord:
    return AttemptRecord(attempt=attempt, mac=mac, outcome=outcome, failure_class=failure)


def with_attempts(*records: AttemptRecord) -> AudioShard:
    shard = a_shard(a_job(), Stage.PROCESS, 0)
    return shard.model_copy(update={"status": shard.status.model_copy(update={"attempts": records})})


def test_the_mac_of_the_newest_bad_end_is_avoided() -> None:
    assert mac_to_avoid([]) is None
    assert mac_to_avoid([record(1, "mac-a", AttemptOutcome.SUCCEEDED)]) is None
    bad = [record(1, "mac-a", AttemptOutcome.FAILED), record(2, "mac-b", AttemptOutcome.REFUSED)]
    assert mac_to_avoid(bad) == "mac-b"
    assert mac_to_avoid([record(1, "mac-a", AttemptOutcome.LOST, FailureClass.MACHINE_LOST)]) == "mac-a"


@pytest.mark.parametrize(
    "failure", [None, FailureClass.MACHINE_RETURNED, FailureClass.SCRATCH_EXHAUSTED], ids=["suspended", "drains", "507"]
)
def test_a_mac_that_gave_the_shard_back_has_not_failed_it(failure: FailureClass | None) -> None:
    """One without room pauses instead. One whose job was suspended has the model in memory."""
    assert mac_to_avoid([record(1, "mac-a", AttemptOutcome.RETURNED, failure)]) is None


@pytest.mark.parametrize("failure", FailureClass)
def test_which_failures_halve_the_batch(failure: FailureClass) -> None:
    assert batch_halvings(with_attempts(record(1, "mac-a", AttemptOutcome.FAILED, failure)), []) == (failure in HALVING)


def test_each_such_failure_halves_it_once_more_and_no_other_end_does() -> None:
    failure = FailureClass.GPU_ABORT_OUT_OF_MEMORY
    ends = [record(number, "mac-a", AttemptOutcome.FAILED, failure) for number in range(1, 8)]
    found = [batch_halvings(with_attempts(*ends[:count]), []) for count in range(8)]
    assert found == [0, 1, 2, 3, *[MAX_BATCH_HALVINGS] * 4]
    lost = record(1, "mac-a", AttemptOutcome.LOST, failure)
    assert batch_halvings(with_attempts(lost, record(2, "mac-b", AttemptOutcome.ASSIGNED)), []) == 0


@pytest.mark.parametrize("given_back", [1, 8, 40])
def test_attempts_that_were_given_back_undo_no_halving(given_back: int) -> None:
    outcomes = [(AttemptOutcome.FAILED, FailureClass.GPU_ABORT_OUT_OF_MEMORY)] * 2
    outcomes += [(AttemptOutcome.RETURNED, FailureClass.MACHINE_RETURNED)] * given_back
    shard = with_attempts()
    for number, (outcome, failure) in enumerate(outcomes, start=1):
        ended = record(number, "mac-a", outcome, failure).model_copy(update={"usage": NO_ROWS})
        listed, folded = fold(shard, (*shard.status.attempts, ended))
        status = shard.status.model_copy(update={"attempts": listed, "folded": folded})
        shard = shard.model_copy(update={"status": status})
    assert batch_halvings(shard, []) == 2
    assert len(shard.status.attempts) <= KEPT_ATTEMPTS
    newest = shard.status.attempts[-1]
    assert newest.attempt == len(outcomes) and mac_to_avoid(shard.status.attempts) is None


def test_a_part_goes_on_with_the_batches_of_the_shard_that_it_was_split_from() -> None:
    whole = with_attempts(record(1, "mac-a", AttemptOutcome.FAILED, FailureClass.GPU_ABORT_TIMEOUT))
    piece = ShardPiece(path="0", inherits=(whole.metadata.uid,), after_attempt=2)
    part = a_shard(a_job(), Stage.PROCESS, 0)
    part = part.model_copy(update={"spec": part.spec.model_copy(update={"piece": piece})})
    assert batch_halvings(part, [whole]) == 1
    assert batch_halvings(part, [with_attempts()]) == 0


async def test_the_agent_is_told_with_the_next_put() -> None:
    world = World(seed=3, macs=1)
    agent = world.agents["mac-a"]
    agent.poison = frozenset({0})
    world.api.add(job_body())
    await until(world, lambda: has_ended(world.job()), 3 * 3600, 4)
    told: dict[str, list[int]] = {}
    for key, request in sorted(agent.requests.items()):
        told.setdefault(key.shard_uid, []).append(request.batch_halvings)
    (unwell,) = [shard for shard in world.shards() if shard.spec.ordinal == 0 and shard.spec.piece is None]
    assert told[unwell.metadata.uid][:4] == [0, 1, 2, 3]
    healthy = [shard.metadata.uid for shard in world.shards() if shard.spec.ordinal not in (0, None)]
    assert healthy and all(told[uid] == [0] for uid in healthy)
