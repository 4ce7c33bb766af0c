"""Whose failure it is when a clip cannot be had."""

from __future__ import annotations

from collections import Counter

import pytest

from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.outage import NEIGHBOURS, OutageDetector, nearest_first
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Backoff, Retries

OUTPUT = "s3://results/job/nonce"
CLIP = "https://clips.test/a.wav"
NEIGHBOUR = "https://clips.test/b.wav"
ELSEWHERE = "https://other.test/c.wav"
LOCAL = "file:///clips/d.wav"


class Places(Storage):
    """Objects that answer, and what the others answer."""

    def __init__(self, *there: str, failure_class: FailureClass = FailureClass.TRANSPORT) -> None:
        super().__init__([])
        self.there = there
        self.failure_class = failure_class
        self.asked: Counter[str] = Counter()
        self.faults = 0

    async def head(self, uri: str) -> ObjectVersion:
        self.asked[uri] += 1
        if self.faults > 0:
            self.faults -= 1
            raise VoxFleetError(FailureClass.TRANSPORT, "a fault")
        if uri not in self.there:
            raise VoxFleetError(self.failure_class, "does not answer")
        return ObjectVersion(1, None)


def witnesses(storage: Storage, *seen: str) -> OutageDetector:
    made = OutageDetector(storage, Retrier(Retries(max_retries=2, backoff=Backoff(initial="0s", cap="0s"))), OUTPUT)
    for uri in seen:
        made.saw(uri)
    return made


def failure(failure_class: FailureClass = FailureClass.TRANSPORT) -> VoxFleetError:
    return VoxFleetError(failure_class, "the clip does not answer")


async def is_own(made: OutageDetector, *neighbours: str, error: VoxFleetError | None = None, uri: str = CLIP) -> bool:
    try:
        await made.require_own(error or failure(), uri, neighbours)
    except VoxFleetError:
        return False
    return True


@pytest.mark.parametrize("failure_class", list(FailureClass))
async def test_every_class_has_an_owner_and_what_is_unclear_is_asked(failure_class: FailureClass) -> None:
    error = failure(failure_class)
    all_there, none_there = Places(OUTPUT, NEIGHBOUR), Places()
    expected = {
        FailureScope.CLIP: (True, True),
        FailureScope.ATTEMPT: (False, False),
        FailureScope.UNCLEAR: (True, False),
    }
    found = [await is_own(witnesses(places), NEIGHBOUR, error=error) for places in (all_there, none_there)]
    assert tuple(found) == expected[SCOPE_OF[failure_class]]
    assert bool(all_there.asked) == (SCOPE_OF[failure_class] is FailureScope.UNCLEAR)


async def test_an_odd_answer_is_about_one_object() -> None:
    assert SCOPE_OF[FailureClass.INVALID_INPUT] is FailureScope.CLIP
    assert SCOPE_OF[FailureClass.FAILURE_BUDGET_EXHAUSTED] is FailureScope.ATTEMPT


async def test_an_outage_of_the_input_is_seen_although_the_output_can_be_read() -> None:
    assert not await is_own(witnesses(Places(OUTPUT)), NEIGHBOUR)
    assert not await is_own(witnesses(Places(OUTPUT), NEIGHBOUR), "https://clips.test/never.wav")


async def test_a_neighbour_of_the_same_place_that_can_be_read_leaves_the_failure_to_the_clip() -> None:
    places = Places(NEIGHBOUR)
    assert await is_own(witnesses(places), "", "not an address", ELSEWHERE, "https://clips.test/dead.wav", NEIGHBOUR)
    assert set(places.asked) == {"https://clips.test/dead.wav", NEIGHBOUR}


async def test_a_place_that_is_dead_among_others_fails_its_own_clips() -> None:
    assert await is_own(witnesses(Places(ELSEWHERE), ELSEWHERE), NEIGHBOUR)
    assert not await is_own(witnesses(Places(), ELSEWHERE), NEIGHBOUR), "when no other answers now, it is the network"
    assert not await is_own(witnesses(Places(LOCAL), LOCAL), NEIGHBOUR), "a local file tells nothing of the network"


async def test_a_clip_that_is_alone_at_its_place_is_measured_by_the_output() -> None:
    assert await is_own(witnesses(Places(OUTPUT)))
    assert not await is_own(witnesses(Places()))


async def test_an_answer_of_another_kind_shows_that_the_place_is_there() -> None:
    places = Places(failure_class=FailureClass.INPUT_NOT_FOUND)
    assert await is_own(witnesses(places, NEIGHBOUR))


async def test_a_single_fault_of_the_question_is_no_outage() -> None:
    places = Places(NEIGHBOUR)
    places.faults = 2
    assert await is_own(witnesses(places, NEIGHBOUR))


async def test_credentials_that_ended_are_everybody_s_and_a_web_server_s_permissions_are_each_object_s() -> None:
    denied, gone = failure(FailureClass.ACCESS_DENIED), Places(OUTPUT, failure_class=FailureClass.ACCESS_DENIED)
    assert not await is_own(witnesses(gone, "s3://clips/b.wav"), error=denied, uri="s3://clips/a.wav")
    assert await is_own(witnesses(gone, NEIGHBOUR), error=denied)


def test_the_nearest_come_first() -> None:
    assert list(nearest_first(1, range(4))) == [0, 2, 3]
    assert len(list(nearest_first(1000, range(10_000)))) == 2 * NEIGHBOURS
