"""For how long endpoints have wanted more lanes than they need. In memory only: a new process counts anew."""

from __future__ import annotations

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.endpoint.wanted import Load, is_spare, wanted_lanes


class SpareTime:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._since_seconds: dict[str, float] = {}
        """By the endpoint's UID."""

    def wanted(self, endpoint: VoiceEndpoint, before: int, load: Load) -> int:
        """`before`: how many lanes were wanted so far."""
        lanes, uid, now = endpoint.spec.lanes, endpoint.metadata.uid, self._context.clock()
        if is_spare(lanes, before, load):
            since = self._since_seconds.setdefault(uid, now)
        else:
            self._since_seconds.pop(uid, None)
            since = now
        wanted = wanted_lanes(lanes, before, load, now - since)
        if wanted < before:
            self._since_seconds.pop(uid, None)
        return wanted

    def forget(self, uid: str) -> None:
        self._since_seconds.pop(uid, None)
