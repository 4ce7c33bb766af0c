"""What every reconciler works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from voxfleet_api.kinds import Resource
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.view import Fleet
from voxfleet_operator.kube import Json
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job_plan import Problem
from voxfleet_operator.reconcile.pauses import Pauses

R = TypeVar("R", bound=Resource)


class Api(Protocol):
    """The writes and live reads that reconcilers make; kube.Kube is one."""

    async def get(self, kind: type[R], namespace: str, name: str) -> R | None: ...

    async def create(self, resource: Mapping[str, object]) -> Json: ...

    async def apply_status(
        self,
        kind: type[R],
        namespace: str,
        name: str,
        status: Mapping[str, object],
        resource_version: str | None = None,
    ) -> R: ...

    async def set_finalizers(
        self, kind: type[R], namespace: str, name: str, finalizers: list[str], resource_version: str
    ) -> R: ...

    async def delete(self, kind: type[Resource], namespace: str, name: str, uid: str) -> None: ...

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]: ...


class Leadership(Protocol):
    @property
    def counts_from_seconds(self) -> float:
        """Monotonic time before which no silence counts."""
        ...

    def check(self) -> None:
        """Raises when this process may not act."""
        ...


class Events(Protocol):
    def publish(self, about: Resource, reason: str, note: str, *, warning: bool = False) -> None:
        """Tells people; never fails and never waits."""
        ...


class Wishes(Protocol):
    """The work queue, as far as reconcilers use it."""

    def add(self, key: Key) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    control_plane: str
    """UID of the kube-system namespace."""
    lost_margin_seconds: float = 60.0
    progress_interval_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Context:
    api: Api
    cache: Cache
    fleet: Fleet
    leader: Leadership
    queue: Wishes
    events: Events
    options: Options
    clock: Callable[[], float]
    """Monotonic, in seconds; the one that lease renewals are stamped with."""
    now: Callable[[], datetime]
    """In UTC."""
    synced: Callable[[], bool]
    """Whether the cache has seen a full list of every kind."""
    pauses: Pauses = field(default_factory=Pauses)
    pending_reasons: dict[str, str] = field(default_factory=dict)
    """Job UID -> why its next shard has no Mac, as the last placement pass found."""
    problems: dict[str, Problem] = field(default_factory=dict)
    """Job UID -> what keeps its attempts from being sent."""
    put_sent_seconds: dict[str, float] = field(default_factory=dict)
    """Mac -> monotonic time of the last PUT, which grants a lease as a renewal does."""

    def timestamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
