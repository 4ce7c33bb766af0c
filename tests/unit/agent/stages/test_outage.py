"""Whether an unreadable object is one clip's failure or an outage."""

from __future__ import annotations

from collections import Counter

import pytest

from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.outage import NEIGHBOUR_DISTANCE, OutageDetector, nearest_first
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Backoff, Retries

OUTPUT = "s3://results/job/nonce"
CLIP = "https://clips.test/a.wav"
NEIGHBOUR = "https://clips.test/b.wav"
ELSEWHERE = "https://other.test/c.wav"
LOCAL = "file:///clips/d.wav"


class ProbedStorage(Storage):
    """Only the objects in `readable` answer; a probe of any other object raises `failure_class`."""

    def __init__(self, *readable: str, failure_class: FailureClass = FailureClass.TRANSPORT) -> None:
        super().__init__([])
        self.readable = readable
        self.failure_class = failure_class
        self.probes: Counter[str] = Counter()
        self.faults = 0

    async def head(self, uri: str) -> ObjectVersion:
        self.probes[uri] += 1
        if self.faults > 0:
            self.faults -= 1
            raise VoxFleetError(FailureClass.TRANSPORT, "a fault")
        if uri not in self.readable:
            raise VoxFleetError(self.failure_class, "does not answer")
        return ObjectVersion(1, None)


def detector(storage: Storage, *readable: str) -> OutageDetector:
    made = OutageDetector(storage, Retrier(Retries(max_retries=2, backoff=Backoff(initial="0s", cap="0s"))), OUTPUT)
    for uri in readable:
        made.record_readable(uri)
    return made


def failure(failure_class: FailureClass = FailureClass.TRANSPORT) -> VoxFleetError:
    return VoxFleetError(failure_class, "the clip does not answer")


async def is_clip_failure(
    outage_detector: OutageDetector, *neighbours: str, error: VoxFleetError | None = None, uri: str = CLIP
) -> bool:
    try:
        await outage_detector.raise_if_outage(error or failure(), uri, neighbours)
    except VoxFleetError:
        return False
    return True


@pytest.mark.parametrize("failure_class", list(FailureClass))
async def test_every_class_has_a_scope_and_an_unclear_one_is_probed(failure_class: FailureClass) -> None:
    error = failure(failure_class)
    all_readable, none_readable = ProbedStorage(OUTPUT, NEIGHBOUR), ProbedStorage()
    expected = {
        FailureScope.CLIP: (True, True),
        FailureScope.ATTEMPT: (False, False),
        FailureScope.UNCLEAR: (True, False),
    }
    outcomes = [
        await is_clip_failure(detector(storage), NEIGHBOUR, error=error) for storage in (all_readable, none_readable)
    ]
    assert tuple(outcomes) == expected[SCOPE_OF[failure_class]]
    assert bool(all_readable.probes) == (SCOPE_OF[failure_class] is FailureScope.UNCLEAR)


async def test_an_invalid_answer_concerns_one_object() -> None:
    assert SCOPE_OF[FailureClass.INVALID_INPUT] is FailureScope.CLIP
    assert SCOPE_OF[FailureClass.FAILURE_BUDGET_EXHAUSTED] is FailureScope.ATTEMPT


async def test_an_outage_of_the_input_is_detected_although_the_output_can_be_read() -> None:
    assert not await is_clip_failure(detector(ProbedStorage(OUTPUT)), NEIGHBOUR)
    assert not await is_clip_failure(detector(ProbedStorage(OUTPUT), NEIGHBOUR), "https://clips.test/never.wav")


async def test_a_readable_neighbour_of_the_same_origin_makes_it_the_clip_s_failure() -> None:
    storage = ProbedStorage(NEIGHBOUR)
    assert await is_clip_failure(
        detector(storage), "", "not an address", ELSEWHERE, "https://clips.test/dead.wav", NEIGHBOUR
    )
    assert set(storage.probes) == {"https://clips.test/dead.wav", NEIGHBOUR}


async def test_an_origin_that_is_down_alone_fails_its_own_clips() -> None:
    assert await is_clip_failure(detector(ProbedStorage(ELSEWHERE), ELSEWHERE), NEIGHBOUR)
    assert not await is_clip_failure(detector(ProbedStorage(), ELSEWHERE), NEIGHBOUR), (
        "when no other answers now, it is the network"
    )
    assert not await is_clip_failure(detector(ProbedStorage(LOCAL), LOCAL), NEIGHBOUR), (
        "a local file tells nothing of the network"
    )


async def test_a_clip_that_is_alone_at_its_origin_is_compared_with_the_output() -> None:
    assert await is_clip_failure(detector(ProbedStorage(OUTPUT)))
    assert not await is_clip_failure(detector(ProbedStorage()))


async def test_any_answer_shows_that_the_origin_is_up() -> None:
    storage = ProbedStorage(failure_class=FailureClass.INPUT_NOT_FOUND)
    assert await is_clip_failure(detector(storage, NEIGHBOUR))


async def test_a_single_failed_probe_is_no_outage() -> None:
    storage = ProbedStorage(NEIGHBOUR)
    storage.faults = 2
    assert await is_clip_failure(detector(storage, NEIGHBOUR))


async def test_expired_credentials_are_an_outage_and_a_web_server_s_permissions_are_each_object_s() -> None:
    denied, gone = failure(FailureClass.ACCESS_DENIED), ProbedStorage(OUTPUT, failure_class=FailureClass.ACCESS_DENIED)
    assert not await is_clip_failure(detector(gone, "s3://clips/b.wav"), error=denied, uri="s3://clips/a.wav")
    assert await is_clip_failure(detector(gone, NEIGHBOUR), error=denied)


def test_the_nearest_come_first() -> None:
    assert list(nearest_first(1, range(4))) == [0, 2, 3]
    assert len(list(nearest_first(1000, range(10_000)))) == 2 * NEIGHBOUR_DISTANCE
