"""Taints keep jobs off Macs, and tolerations let some on, as those of Kubernetes nodes and pods do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import SpecModel, cel, validations
from voxfleet_api.selectors import LabelKey, LabelValue


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"


class TolerationOperator(StrEnum):
    EQUAL = "Equal"
    EXISTS = "Exists"


class Taint(SpecModel):
    """Keeps the attempts of all jobs off a Mac that do not tolerate it; running ones finish."""

    key: Annotated[LabelKey, Field(description="Name of the taint, such as `rented`.")]
    value: Annotated[LabelValue, Field(description="Its value, such as `night`.")] = ""
    effect: Annotated[TaintEffect, Field(description="NoSchedule: no new attempts.")] = TaintEffect.NO_SCHEDULE

    def __str__(self) -> str:
        return f"{{{self.key}: {self.value}}}" if self.value else f"{{{self.key}}}"


class Toleration(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "has(self.key) || self.operator == 'Exists'",
            "a toleration without a key is of every taint; write operator: Exists",
        ),
        cel("self.operator != 'Exists' || !has(self.value)", "operator Exists compares no value; leave value out"),
    ),
):
    """Lets a job run on Macs with the taints that it matches."""

    key: Annotated[LabelKey | None, Field(description="The taint; absent, with operator Exists: every taint.")] = None
    operator: Annotated[
        TolerationOperator, Field(description="Equal: the taint has this value. Exists: it may have any.")
    ] = TolerationOperator.EQUAL
    value: Annotated[LabelValue | None, Field(description="For Equal: the taint's value; absent: an empty one.")] = None
    effect: Annotated[TaintEffect | None, Field(description="The taint's effect; absent: any.")] = None

    def tolerates(self, taint: Taint) -> bool:
        """Compares key and value; there is one effect, so that always matches."""
        if self.key is not None and self.key != taint.key:
            return False
        return self.operator is TolerationOperator.EXISTS or (self.value or "") == taint.value


def untolerated(taints: Iterable[Taint], tolerations: tuple[Toleration, ...]) -> Taint | None:
    """The first taint that none of the tolerations matches; None if there is none."""
    return next((taint for taint in taints if not any(item.tolerates(taint) for item in tolerations)), None)
