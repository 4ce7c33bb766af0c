"""Whose failure it is when an object cannot be had: the clip's own, or everybody's, which must end the attempt."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice

from voxfleet_agent.addresses import Scheme, parse_address
from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError

NEIGHBOURS = 64
"""Clips in front of a clip, and behind it, that are looked through for others of its place."""
ASKED_NEIGHBOURS = 3


class OutageDetector:
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
        owner = SCOPE_OF[failure.failure_class]
        if owner is FailureScope.ATTEMPT:
            raise failure
        if owner is FailureScope.UNCLEAR:
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
                if SCOPE_OF[error.failure_class] is not FailureScope.UNCLEAR:
                    return  # also an answer
                if position == len(uris) - 1:
                    raise
            else:
                return


def nearest_first(index: int, indexes: Container[int]) -> Iterator[int]:
    """The nearest other indexes first. Pure."""
    for distance in range(1, NEIGHBOURS + 1):
        yield from (near for near in (index - distance, index + distance) if near in indexes)


def _place(uri: str) -> str:
    try:
        address = parse_address(uri)
    except VoxFleetError:
        return ""  # a text, or what Plan refused as no address
    return f"{address.scheme}://{address.authority}"


def _remote(place: str) -> bool:
    return not place.startswith(f"{Scheme.FILE}:")
