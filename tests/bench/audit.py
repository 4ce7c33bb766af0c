"""Counts what the operator asked of kube-apiserver, from its audit log (`audit.k8s.io/v1`, one event a line)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

# Whatever is not one of these is the operator's, whichever of its libraries sent it: an unknown name is counted.
OTHER_CLIENTS = ("kubectl/", "kube-apiserver/", "kube-controller-manager/", "Python-urllib/", "voxfleet-bench/")


class _ObjectRef(BaseModel):
    model_config = ConfigDict(frozen=True)

    resource: str = ""
    subresource: str = ""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    stage: str
    verb: str
    uri: str = Field(alias="requestURI")
    user_agent: str = Field("", alias="userAgent")
    received: datetime = Field(alias="requestReceivedTimestamp")
    object_ref: _ObjectRef | None = Field(None, alias="objectRef")

    @property
    def what(self) -> str:
        if self.object_ref is None:
            return f"{self.verb} {self.uri.partition('?')[0]}"
        parts = (self.object_ref.resource, self.object_ref.subresource)
        return f"{self.verb} {'/'.join(part for part in parts if part)}"


def operator_requests(lines: Iterable[str], start: datetime, end: datetime) -> Counter[str]:
    """Requests of the operator received in [start, end], watches left out, by "verb resource".

    A request counts once, when its answer is complete. Raises pydantic.ValidationError for a line of another form.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        if not line.endswith("\n"):
            continue  # the server is still writing it
        event = _Event.model_validate_json(line)
        if event.stage != "ResponseComplete" or event.verb == "watch":
            continue
        if start <= event.received <= end and not event.user_agent.startswith(OTHER_CLIENTS):
            counts[event.what] += 1
    return counts
