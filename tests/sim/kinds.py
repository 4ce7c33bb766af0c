"""The kinds that the modelled API server stores, and the collections in which they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from voxfleet_api import kinds
from voxfleet_api.kinds import Resource

KIND_OF: dict[str, type[Resource]] = {kind.crd.kind: kind for kind in kinds.KINDS}
NEVER_MADE = frozenset({kinds.AudioBatchSchedule.crd.kind, kinds.VoiceEndpoint.crd.kind})
"""No run has such objects. Nothing about them is left to chance, so that a seed is the run that it was without them."""
COLLECTIONS: dict[str, str] = {kind.crd.plural: kind.crd.kind for kind in kinds.KINDS} | {
    "leases": "Lease",
    "namespaces": "Namespace",
    "secrets": "Secret",
    "events": "Event",
}
LISTS = frozenset({*KIND_OF, "Namespace"})
"""The kinds that the operator watches."""

KEPT_VERSIONS = 5000

R = TypeVar("R", bound=Resource)


class ParsedVersions:
    """Parses each version of an object once for all who read it, which is most of what a run would cost otherwise."""

    def __init__(self) -> None:
        self._parsed: dict[tuple[str, str], Resource] = {}

    def forget_old(self) -> None:
        """All but the newest versions, which may still be on their way."""
        for version in list(self._parsed)[:-KEPT_VERSIONS]:
            del self._parsed[version]

    def parse(self, kind: type[R], data: Mapping[str, Any]) -> R:
        metadata = data["metadata"]
        version = (metadata["uid"], metadata["resourceVersion"])
        found = self._parsed.get(version)
        if found is None:
            found = self._parsed[version] = kind.load(data)
        return cast("R", found)
