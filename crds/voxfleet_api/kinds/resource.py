"""The parts that all kinds share: metadata as read from the API server, and the facts that a CRD needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import SpecModel, StatusModel


class OwnerReference(StatusModel):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(StatusModel):
    """The part of metav1.ObjectMeta that VoxFleet reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    name: str
    type: str
    json_path: str
    description: str
    priority: int = 0
    """1 shows the column only in `-o wide`."""


@dataclass(frozen=True, slots=True)
class FrozenSpec:
    """Says that a spec does not change after creation. A new field is immutable too, until it is listed."""

    advice: str
    """What to do instead."""
    mutable: tuple[str, ...] = ()
    """The fields of the spec that may change, by their names in YAML."""


@dataclass(frozen=True, slots=True)
class CrdFacts:
    """The facts of a CRD beside its schema."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    everyday_name: str
    """What people call an object of the kind."""
    scope: str
    columns: tuple[PrinterColumn, ...]
    frozen_spec: FrozenSpec | None
    """None: all of the spec may change."""


class Resource(StatusModel):
    """An object of the API server; subclasses add `spec` and `status`."""

    crd: ClassVar[CrdFacts]

    metadata: ObjectMeta

    if TYPE_CHECKING:

        @property
        def status(self) -> StatusModel:
            """The kind's own status."""


AGE_COLUMN = PrinterColumn("Age", "date", ".metadata.creationTimestamp", "Time since creation")


class SecretKeyRef(SpecModel):
    """One key of a Secret in the operator's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the Secret.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key in the Secret's data.")]


class TlsSecretRef(SpecModel):
    """A Secret of type kubernetes.io/tls in the operator's namespace: a certificate in tls.crt, its key in tls.key."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the Secret.")]


class LocalRef(SpecModel):
    """The name of an object in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the object.")]
