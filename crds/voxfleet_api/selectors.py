"""Label selectors, which match as in Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import SpecModel, cel, list_atomic, validations

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class SelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "In and NotIn need values; Exists and DoesNotExist take none",
        ),
    ),
):
    """One condition on a label."""

    key: Annotated[LabelKey, Field(description="The label.")]
    operator: Annotated[SelectorOperator, Field(description="How the label's value is compared.")]
    values: Annotated[
        tuple[LabelValue, ...] | None,
        Field(
            max_length=32, json_schema_extra=list_atomic(), description="For In and NotIn: the values to compare with."
        ),
    ] = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case SelectorOperator.EXISTS:
                return value is not None
            case SelectorOperator.DOES_NOT_EXIST:
                return value is None
            case SelectorOperator.IN:
                return value is not None and value in (self.values or ())
            case SelectorOperator.NOT_IN:
                return value is None or value not in (self.values or ())


class LabelSelector(SpecModel):
    """Matches when all its conditions hold; an empty selector matches everything."""

    match_labels: Annotated[
        dict[LabelKey, LabelValue], Field(max_length=16, description="Labels that must have exactly these values.")
    ] = Field(default_factory=dict)
    match_expressions: Annotated[
        tuple[LabelRequirement, ...],
        Field(max_length=16, json_schema_extra=list_atomic(), description="Further conditions on labels."),
    ] = ()

    def __hash__(self) -> int:
        return hash((frozenset(self.match_labels.items()), self.match_expressions))

    @property
    def keys(self) -> frozenset[str]:
        """The labels that it looks at."""
        return frozenset((*self.match_labels, *(requirement.key for requirement in self.match_expressions)))

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
