"""Decides whether an unreadable object is one clip's failure or an outage, which must end the attempt."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice

from voxfleet_agent.addresses import Scheme
from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError

NEIGHBOUR_DISTANCE = 64
"""How many places before and after a clip are searched for others of the same origin."""
PROBED_NEIGHBOURS = 3


class OutageDetector:
    """Probes other objects to find out whether an origin can be read.

    An origin is a bucket, a web server, or a mounted file system of this Mac.
    """

    def __init__(self, storage: Storage, retrier: Retrier, output_uri: str) -> None:
        """`output_uri`: an object that the job itself wrote."""
        self._storage = storage
        self._retrier = retrier
        self._output_uri = output_uri
        self._last_readable: dict[str, str] = {}
        """By origin: the object that was last read successfully."""

    def record_readable(self, uri: str) -> None:
        self._last_readable[self._origin(uri)] = uri

    async def raise_if_outage(self, failure: VoxFleetError, uri: str, neighbours: Iterable[str]) -> None:
        """Raises VoxFleetError when other clips would fail in the same way; returns when the failure is the clip's own.

        `neighbours`: addresses of other clips, the nearest first. When nothing at the clip's origin can be read, that
        is an outage, unless the job has readable clips at other origins: then only the clip's origin is down.
        """
        scope = SCOPE_OF[failure.failure_class]
        if scope is FailureScope.ATTEMPT:
            raise failure
        if scope is FailureScope.UNCLEAR:
            await self._probe(list(self._probe_uris(failure.failure_class, uri, neighbours)))

    def _probe_uris(self, failure_class: FailureClass, uri: str, neighbours: Iterable[str]) -> Iterator[str]:
        """Objects to probe; if any of them answers, there is no outage."""
        origin = self._origin(uri)
        readable = self._last_readable.get(origin)
        if failure_class is FailureClass.ACCESS_DENIED:
            # On a web server, each address may have its own permission with its own expiry.
            yield self._output_uri if readable is None or uri.startswith(f"{Scheme.HTTPS}:") else readable
        elif readable is not None:
            yield readable
        else:
            same_origin = list(
                islice((other for other in neighbours if self._origin(other) == origin), PROBED_NEIGHBOURS)
            )
            elsewhere = [
                other
                for other_origin, other in self._last_readable.items()
                if _is_remote(other_origin) == _is_remote(origin)
            ]
            yield from same_origin
            yield from elsewhere[-1:]
            if not same_origin:
                yield self._output_uri

    def _origin(self, uri: str) -> str:
        try:
            return self._storage.outage_domain(uri)
        except VoxFleetError:
            return ""  # a text, or an address that Plan refused as invalid

    async def _probe(self, uris: list[str]) -> None:
        await self._retrier(lambda: self._probe_any(uris))

    async def _probe_any(self, uris: list[str]) -> None:
        """Raises the last failure when no object answers."""
        for position, uri in enumerate(uris):
            try:
                await self._storage.head(uri)
            except VoxFleetError as error:
                if SCOPE_OF[error.failure_class] is not FailureScope.UNCLEAR:
                    return  # the origin answers, even if not with this object
                if position == len(uris) - 1:
                    raise
            else:
                return


def nearest_first(index: int, indexes: Container[int]) -> Iterator[int]:
    """Other indexes up to NEIGHBOUR_DISTANCE away, the nearest first. Pure."""
    for distance in range(1, NEIGHBOUR_DISTANCE + 1):
        yield from (other for other in (index - distance, index + distance) if other in indexes)


def _is_remote(origin: str) -> bool:
    return not origin.startswith(f"{Scheme.FILE}:")
