"""Names that say what a field holds, in every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from voxfleet_api.kinds import KINDS
from voxfleet_api.kinds.resource import SecretKeyRef

UNITS = re.compile(r"(Seconds|Milliseconds|Hours|Bytes)$")
NO_AMOUNTS = {
    "rows",
    "settled",
    "complete",
    "givenUp",
    "unverifiedAttempts",
    "chainId",
    "lastHash",
    "firstSequence",
    "lastSequence",
    "estimate",
    "updatedAt",
}
"""What a usage holds beside amounts of time and bytes: counts, numbers of rows, times and facts."""


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def fields(model: type[BaseModel], path: str) -> Iterator[tuple[str, str, type[BaseModel] | None]]:
    """(path of the object, name on the wire, model of the value) of each field at any depth."""
    for name, info in model.model_fields.items():
        wire = info.alias or name
        inner = next(models(info.annotation), None)
        yield path, wire, inner
        if inner is not None:
            yield from fields(inner, f"{path}.{wire}")


ALL = [found for kind in KINDS for found in fields(kind, kind.crd.kind)]


def test_a_reference_to_a_secret_says_so() -> None:
    references = [name for _, name, model in ALL if model is SecretKeyRef or re.search("secret", name, re.IGNORECASE)]
    assert {"credentialsSecretRef", "identitySecretRef", "tokenSecretRef"} <= set(references)
    assert [name for name in references if not name.endswith("SecretRef")] == []


def test_every_amount_of_a_usage_ends_in_its_unit() -> None:
    amounts = [f"{path}.{name}" for path, name, _ in ALL if path.endswith(".usage") and name not in NO_AMOUNTS]
    assert "AudioBatchJob.status.usage.productiveSeconds" in amounts
    assert [name for name in amounts if not UNITS.search(name)] == []
