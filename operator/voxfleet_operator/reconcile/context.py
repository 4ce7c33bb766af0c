"""What reconcilers work with: the API, the cache, the fleet, the queue and the clocks.

No field is ever replaced, and reconcilers leave no findings for each other in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from voxfleet_api.kinds import Resource
from voxfleet_api.moments import timestamp
from voxfleet_operator.cache import Cache
from voxfleet_operator.event_reasons import Announced
from voxfleet_operator.fleet.mac_view import Fleet
from voxfleet_operator.kube import Json
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.metrics import WorkMetrics
from voxfleet_operator.queue import Key
from voxfleet_operator.triggers import Triggers

R = TypeVar("R", bound=Resource)


class Api(Protocol):
    """The writes and live reads that reconcilers make; kube.Kube implements it."""

    async def get(self, kind: type[R], namespace: str, name: str) -> R | None: ...

    async def create(self, resource: Mapping[str, object]) -> Json: ...

    async def check(self, resource: Mapping[str, object]) -> Json: ...

    async def change_spec(
        self, kind: type[R], namespace: str, name: str, changes: Mapping[str, object], *, uid: str
    ) -> R: ...

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

    async def set_owner(
        self, kind: type[R], namespace: str, name: str, owner: Mapping[str, object], resource_version: str
    ) -> R: ...

    async def delete(self, kind: type[Resource], namespace: str, name: str, uid: str) -> None: ...

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]: ...


class Leadership(Protocol):
    @property
    def counts_from_seconds(self) -> float:
        """The monotonic time from which silence counts."""
        ...

    @property
    def unled(self) -> tuple[datetime, datetime] | None:
        """From when until when nobody led, before this process did; None if that is unknown."""
        ...

    def check(self) -> None:
        """Raises when this process may not act."""
        ...


class Events(Protocol):
    def publish(self, about: Resource, reason: Announced, note: str) -> None:
        """Records what happened, for people; never fails and never waits."""
        ...


class Requeue(Protocol):
    """The part of the work queue that reconcilers use."""

    def add(self, key: Key) -> None: ...

    def add_after(self, key: Key, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    control_plane: str
    """UID of the kube-system namespace."""
    lost_margin_seconds: float = 60.0
    progress_interval_seconds: float = 15.0
    retry_limit: int = 7
    """How many retries a shard gets; 0 for none at all."""
    gateway_url: str | None = None
    """Where clients call endpoints, without a slash at its end; None: nobody knows of a gateway."""


@dataclass(frozen=True, slots=True)
class Context:
    api: Api
    cache: Cache
    fleet: Fleet
    leader: Leadership
    queue: Requeue
    triggers: Triggers
    events: Events
    options: ReconcileOptions
    clock: Callable[[], float]
    """Monotonic, in seconds; the one that lease renewals are stamped with."""
    now: Callable[[], datetime]
    """In UTC."""
    synced: Callable[[], bool]
    """Whether the cache has seen a full list of every kind."""
    metrics: WorkMetrics = field(default_factory=WorkMetrics)
    archive: LedgerArchive | None = None
    budgets: BudgetAccounts = field(default_factory=BudgetAccounts)

    def timestamp(self) -> str:
        return timestamp(self.now())
