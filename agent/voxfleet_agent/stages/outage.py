"""Whose failure it is when an object cannot be had: the clip's own, or everybody's, which must end the attempt."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from enum import Enum, auto
from itertools import islice

from voxfleet_agent.addresses import Scheme, parse
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError

NEIGHBOURS = 64
"""Clips in front of a clip, and behind it, that are looked through for others of its place."""
ASKED_NEIGHBOURS = 3


class Owner(Enum):
    CLIP = auto()
    ATTEMPT = auto()
    UNCLEAR = auto()
    """Tells whether other objects can be had."""


OWNERS: dict[FailureClass, Owner] = {
    FailureClass.CHECKSUM_MISMATCH: Owner.CLIP,
    FailureClass.UNSUPPORTED_CONTAINER: Owner.CLIP,
    FailureClass.CONTRACT_VIOLATION: Owner.CLIP,
    FailureClass.DECODE_ERROR: Owner.CLIP,
    FailureClass.INPUT_CHANGED: Owner.CLIP,
    FailureClass.INFERENCE_ERROR: Owner.CLIP,
    FailureClass.LANE_CRASHED: Owner.CLIP,
    FailureClass.MEMORY_EXCEEDED: Owner.CLIP,
    FailureClass.TRUNCATED_OUTPUT: Owner.CLIP,
    FailureClass.INPUT_NOT_FOUND: Owner.CLIP,
    FailureClass.ACCESS_DENIED: Owner.UNCLEAR,
    FailureClass.TRANSPORT: Owner.UNCLEAR,
    FailureClass.THROTTLED: Owner.UNCLEAR,
    FailureClass.MACHINE_LOST: Owner.ATTEMPT,
    FailureClass.RUNTIME_MISMATCH: Owner.ATTEMPT,
    FailureClass.SCRATCH_EXHAUSTED: Owner.ATTEMPT,
    FailureClass.GPU_ABORT_OUT_OF_MEMORY: Owner.ATTEMPT,
    FailureClass.GPU_ABORT_TIMEOUT: Owner.ATTEMPT,
    FailureClass.GPU_ABORT_INNOCENT_VICTIM: Owner.ATTEMPT,
    FailureClass.INVALID_INPUT: Owner.CLIP,
    FailureClass.MODEL_UNAVAILABLE: Owner.ATTEMPT,
    FailureClass.MODEL_MISMATCH: Owner.ATTEMPT,
    FailureClass.FAILURE_BUDGET_EXHAUSTED: Owner.ATTEMPT,
    FailureClass.PLAN_MISMATCH: Owner.ATTEMPT,
    FailureClass.INPUT_NOT_SHARED: Owner.ATTEMPT,
    FailureClass.OUTPUT_NOT_SHARED: Owner.ATTEMPT,
    FailureClass.NONDETERMINISTIC_REPLAY: Owner.CLIP,
}
"""Of a failure to read a clip. An odd answer (InvalidInput: HTTP 400, no length, compressed) is about one object."""


class Witnesses:
    """Objects that show whether a place can be read: a bucket, a web server, or this Mac's own folders."""

    def __init__(self, storage: Storage, retrier: Retrier, output_uri: str) -> None:
        """`output_uri`: an object of the job's own."""
        self._storage = storage
        self._retrier = retrier
        self._output_uri = output_uri
        self._seen: dict[str, str] = {}
        """The latest object that could be read, by place."""

    def saw(self, uri: str) -> None:
        """This object could be read."""
        self._seen[_place(uri)] = uri

    async def require_own(self, failure: VoxFleetError, uri: str, neighbours: Iterable[str]) -> None:
        """Returns when it is the clip's own failure; raises VoxFleetError when others would meet it too.

        `neighbours`: addresses of other clips, the nearest first. Where nothing can be read at the clip's place, it is
        an outage, unless the job has clips at other places that can be: then that place alone is dead.
        """
        owner = OWNERS[failure.failure_class]
        if owner is Owner.ATTEMPT:
            raise failure
        if owner is Owner.UNCLEAR:
            await self._ask(list(self._asked(failure.failure_class, uri, neighbours)))

    def _asked(self, failure_class: FailureClass, uri: str, neighbours: Iterable[str]) -> Iterator[str]:
        """Objects of which one that answers is enough."""
        place = _place(uri)
        seen = self._seen.get(place)
        if failure_class is FailureClass.ACCESS_DENIED:
            # Each address of a web server may have a permission, and an end of it, of its own.
            yield self._output_uri if seen is None or uri.startswith(f"{Scheme.HTTPS}:") else seen
        elif seen is not None:
            yield seen
        else:
            of_place = list(islice((other for other in neighbours if _place(other) == place), ASKED_NEIGHBOURS))
            elsewhere = [other for other_place, other in self._seen.items() if _remote(other_place) == _remote(place)]
            yield from of_place
            yield from elsewhere[-1:]
            if not of_place:
                yield self._output_uri

    async def _ask(self, uris: list[str]) -> None:
        await self._retrier(lambda: self._first_answer(uris))

    async def _first_answer(self, uris: list[str]) -> None:
        """Raises the last failure when none of them answers."""
        for position, uri in enumerate(uris):
            try:
                await self._storage.head(uri)
            except VoxFleetError as error:
                if OWNERS[error.failure_class] is not Owner.UNCLEAR:
                    return  # also an answer
                if position == len(uris) - 1:
                    raise
            else:
                return


def around(index: int, indexes: Container[int]) -> Iterator[int]:
    """The nearest other indexes first. Pure."""
    for distance in range(1, NEIGHBOURS + 1):
        yield from (near for near in (index - distance, index + distance) if near in indexes)


def _place(uri: str) -> str:
    try:
        address = parse(uri)
    except VoxFleetError:
        return ""  # a text, or what Plan refused as no address
    return f"{address.scheme}://{address.authority}"


def _remote(place: str) -> bool:
    return not place.startswith(f"{Scheme.FILE}:")
