"""Reads who asked what of kube-apiserver in its audit log (`audit.k8s.io/v1`, one event a line)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

BYSTANDERS = frozenset({"kubectl", "kube-apiserver", "Python-urllib", "voxfleet-bench"})
"""Clients that are no part of what is measured. Whatever is not listed counts, whichever library sent it."""


class _ObjectRef(BaseModel):
    model_config = ConfigDict(frozen=True)

    resource: str = ""
    subresource: str = ""
    name: str = ""


class Request(BaseModel):
    """One event of the log."""

    model_config = ConfigDict(frozen=True)

    stage: str
    verb: str
    uri: str = Field(alias="requestURI")
    user_agent: str = Field("", alias="userAgent")
    received: datetime = Field(alias="requestReceivedTimestamp")
    object_ref: _ObjectRef | None = Field(None, alias="objectRef")

    @property
    def client(self) -> str:
        """The program that asked, without its version."""
        return self.user_agent.partition("/")[0]

    @property
    def name(self) -> str:
        """Of the object; "" where there is none, as in a list."""
        return "" if self.object_ref is None else self.object_ref.name

    @property
    def what(self) -> str:
        if self.object_ref is None:
            return f"{self.verb} {self.uri.partition('?')[0]}"
        parts = (self.object_ref.resource, self.object_ref.subresource)
        return f"{self.verb} {'/'.join(part for part in parts if part)}"


def requests(lines: Iterable[str]) -> Iterator[Request]:
    """Each request once, when its answer is complete; watches are left out.

    Raises pydantic.ValidationError for a line of another form.
    """
    for line in lines:
        if not line.endswith("\n"):
            continue  # the server is still writing it
        request = Request.model_validate_json(line)
        if request.stage == "ResponseComplete" and request.verb != "watch":
            yield request


def operator_requests(lines: Iterable[str], start: datetime, end: datetime) -> Counter[str]:
    """Requests of the operator received in [start, end], by "verb resource". Raises pydantic.ValidationError."""
    others = BYSTANDERS | {"kube-controller-manager"}
    return Counter(
        request.what for request in requests(lines) if start <= request.received <= end and request.client not in others
    )
