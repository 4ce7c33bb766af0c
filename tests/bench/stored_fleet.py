"""A fleet in memory, over stored objects, with a clock moved by hand: what the operator is measured and tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from tests.bench.stored_objects import NAMESPACES, NOW, Shape, bodies, load, mac_name, mac_view, namespace

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest
from voxfleet_api.kinds import MacAgent, Resource
from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_api.protocol import AttemptRequest
from voxfleet_operator.cache import Cache
from voxfleet_operator.event_reasons import Announced
from voxfleet_operator.fleet.closing import Closing
from voxfleet_operator.fleet.mac_view import AgentAnswer, MacView, Order
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.registry import triggers

CLOCK_SECONDS = 10_000.0


@dataclass
class StoredFleet:
    """Implements the Fleet protocol as far as gathering needs it, in the form that MacFleet has."""

    shape: Shape
    cache: Cache = field(default_factory=Cache)
    by_name: dict[str, MacView] = field(default_factory=dict)
    clock_seconds: float = CLOCK_SECONDS
    now: datetime = datetime.fromisoformat(NOW)  # noqa: RUF009 # a constant
    versions: Iterator[int] = field(default_factory=lambda: count(10**6))

    def __post_init__(self) -> None:
        for body in bodies(self.shape):
            self.cache.put(load(body))
        for number in range(NAMESPACES):
            self.cache.put_namespace(namespace(number), {"team": namespace(number)})
        self.by_name = {mac_name(number): mac_view(number) for number in range(self.shape.macs)}

    def context(self) -> Context:
        return Context(
            api=None,  # type: ignore[arg-type] # nothing is written
            cache=self.cache,
            fleet=self,
            leader=_Leader(),
            queue=_Requeue(),
            triggers=triggers(),
            events=_Events(),
            options=ReconcileOptions("control-plane"),
            clock=lambda: self.clock_seconds,
            now=lambda: self.now,
            synced=lambda: True,
        )

    def change(self, resource: Resource) -> None:
        """Puts the object as a newer version."""
        metadata = resource.metadata.model_copy(update={"resource_version": str(next(self.versions))})
        self.cache.put(resource.model_copy(update={"metadata": metadata}))

    # The Fleet protocol.

    def view(self, mac: str) -> MacView:
        found = self.by_name.get(mac)
        if found is None:
            return MacView(mac, connected=False, reason=Reason.UNKNOWN, message="there is no MacAgent of this name")
        return found

    def views(self) -> Mapping[str, MacView]:
        return _Views(self.by_name)

    def lease_granted_seconds(self, record: AttemptRecord) -> float | None:
        return 0.0

    def ensure(self, mac: MacAgent) -> None:
        return

    def close_at(self, mac: str, closing: Closing) -> None:
        return

    def forget(self, mac: str) -> None:
        return

    def put(self, mac: MacView, key: AttemptKey, request: AttemptRequest, *, renews: bool = False) -> None:
        return

    def delete(self, mac: MacView, key: AttemptKey) -> AgentAnswer | None:
        return None

    def answer(self, mac: MacView, order: Order, key: AttemptKey) -> AgentAnswer | None:
        return None

    def hold_lane(self, mac: MacView, key: LaneKey, request: LaneRequest | None) -> None:
        return

    def drop_lane(self, mac: MacView, key: LaneKey) -> None:
        return


class _Views(Mapping[str, MacView]):
    """Each look-up is a call, as MacFleet's are."""

    def __init__(self, views: Mapping[str, MacView]) -> None:
        self._views = views

    def __getitem__(self, mac: str) -> MacView:
        return self._views[mac]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


class _Leader:
    counts_from_seconds = 0.0
    unled = None

    def check(self) -> None:
        return


class _Requeue:
    def add(self, key: Key) -> None:
        return

    def add_after(self, key: Key, seconds: float) -> None:
        return


class _Events:
    def publish(self, about: Resource, reason: Announced, note: str) -> None:
        return
